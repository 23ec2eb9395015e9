/* A library with two versions of a function, as the C library has of many; the linker finds the old one first. */
__asm__(".symver turn_old, turn@V1");
__asm__(".symver turn_new, turn@@V2");
__attribute__((noinline)) int turn_old(int i) { return i + 1; }
__attribute__((noinline)) int turn_new(int i) { return i + 2; }
__attribute__((noinline)) int plain(int i) { return i + 3; }
__attribute__((alias("plain"))) int plain_too(int i);
int shared_number = 7;
/* What compilers make of a function that is called with a constant. */
__attribute__((noinline)) int half(int i) { return i / 2; }
__attribute__((used, noinline)) int half_of_four(void) __asm__("half.constprop.0");
int half_of_four(void) { return 2; }

static int one(int i) { return i; }
static void *choose(void) { return (void *)one; }
int chosen(int) __attribute__((ifunc("choose")));
