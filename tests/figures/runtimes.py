def runtimes(bench): return []
