/* A function that no other file sees, of a name that another file has too. */
static __attribute__((noinline)) int twice(int i) { __asm__ volatile(""); return 2 * i; }
int twice_here(int i) { return twice(i) + 1; }
