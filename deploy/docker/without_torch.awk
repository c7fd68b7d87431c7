# The pins without PyTorch and what only its build for CUDA needs: each is a line with the package
# and lines with its hashes, which begin with blanks.
/^[a-z]/ { keep = $0 !~ /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==/ }
keep
