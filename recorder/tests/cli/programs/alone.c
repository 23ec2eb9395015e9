/* Needs no library and no C runtime, so that it runs in any root. Calls `hello` as often as there are letters in its
   first argument. The byte at `trap` is a breakpoint already. */
__attribute__((noinline)) long hello(long i) { __asm__ volatile(""); return i + 1; }
__asm__(".globl trap\ntrap: .byte 0xcc\n");
__attribute__((used)) static void run(long *stack) {
    const char *text = (const char *)stack[2];
    long n = 0;
    while (text && text[n]) hello(n++);
    __asm__ volatile("syscall" : : "a"(231), "D"(0));
    __builtin_unreachable();
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall run\n");
