"""What a large extraction will cost, from unit costs measured on the machine that asks."""
