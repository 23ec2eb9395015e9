/* Has probes built in, as <sys/sdt.h> makes them, with arguments of all forms; and says how often it came past them.
 *
 *   marks N       N times past each
 *   marks N DIR   the same; the arguments are in DIR/values_of.csv and DIR/places_of.csv
 *   marks steps   once past `heard` for each line that it reads, and the semaphore on a line of its own */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

unsigned short heard_semaphore __attribute__((section(".probes"), used));
int counter __attribute__((used)) = 0;
static long table[8] __attribute__((used));

/* Constants of each size and sign. */
static __attribute__((noinline)) void constants(void) {
    __asm__ volatile(PROBE("marks", "constants", "0", "-4@$-7 4@$-7 -8@$5 8@$-1 -1@$200 1@$200 2@$70000 -2@$-3"));
}

/* One value in registers of each width; the second byte of another. */
static __attribute__((noinline)) void registers(long value, long second) {
    __asm__ volatile(PROBE("marks", "registers", "0", "8@%q0 -8@%q0 4@%k0 -4@%k0 2@%w0 -2@%w0 1@%b0 -1@%b0 -1@%h1 8@%q2")
                     :
                     : "r"(value), "Q"(second), "r"("text in a register"));
}

/* A local variable, an item of an array, global variables, and text that a variable points to. */
static __attribute__((noinline)) void memory(long i) {
    volatile int local = (int)(-i);
    const char *volatile text = i % 2 ? "odd" : "even";
    table[i % 8] = i * 1000;
    __asm__ volatile(PROBE("marks", "memory", "0", "-4@%0 -8@(%1,%2,8) -8@-8(%1,%3,8) -4@counter(%%rip) 8@%4 8@$counter 8@0(%5)")
                     :
                     : "m"(local), "r"(table), "r"(i % 8), "r"(i % 8 + 1), "m"(text), "r"(&text)
                     : "memory");
}

/* One probe in four places: a constant, a register, memory, and without a second argument. */
static __attribute__((noinline)) void places(unsigned long i) {
    volatile unsigned long local = i + 100;
    __asm__ volatile(PROBE("marks", "places", "0", "-4@$1 8@%0") : : "r"(i));
    __asm__ volatile(PROBE("marks", "places", "0", "4@%k0 8@%1") : : "r"(2L), "m"(local));
    __asm__ volatile(PROBE("marks", "places", "0", "-4@$3 8@$77"));
    __asm__ volatile(PROBE("marks", "places", "0", "-4@$4"));
    __asm__ volatile(PROBE("marks", "places", "0", "-4@$4 4f@%%xmm0") : :);
}

/* Only if somebody listens; true if so. */
static __attribute__((noinline)) int heard(long i) {
    if (!*(volatile unsigned short *)&heard_semaphore) return 0;
    __asm__ volatile(PROBE("marks", "heard", "heard_semaphore", "-8@%0") : : "r"(i));
    return 1;
}

static __attribute__((noinline)) void odd(void) {
    __asm__ volatile(PROBE("marks", "odd", "0", "8@DWORD PTR [rbp-8] 8f@%%xmm1 -4@$9") : :);
}

int main(int n, char **args) {
    if (n > 1 && !strcmp(args[1], "steps")) {
        char line[100];
        for (long i = 0; fgets(line, sizeof line, stdin); i++) {
            printf("%d %hu\n", heard(i), heard_semaphore);
            fflush(stdout);
        }
        return 0;
    }
    long times = n > 1 ? atol(args[1]) : 1, prepared = 0;
    FILE *values = NULL, *places_of = NULL;
    if (n > 2) {
        if (chdir(args[2])) return 1;
        values = fopen("values_of.csv", "w");
        places_of = fopen("places_of.csv", "w");
        fprintf(values, "whole,low32,low16,low8,second,local,item,counter,name\n");
        fprintf(places_of, "arg0,arg1\n");
    }
    for (long i = 0; i < times; i++) {
        long value = 0x1122334455667788 * (i % 2 ? -1 : 1) + i;
        counter++;
        constants();
        registers(value, (i + 1) << 8);
        memory(i);
        places((unsigned long)i);
        prepared += heard(i);
        odd();
        if (!values) continue;
        fprintf(values, "%ld,%d,%hd,%hhd,%ld,%ld,%ld,%d,%s\n", value, (int)value, (short)value, (signed char)value, i + 1, -i,
                i * 1000, counter, i % 2 ? "odd" : "even");
        fprintf(places_of, "1,%ld\n2,%ld\n3,77\n4,\n4,\n", i, i + 100);
    }
    if (values) fclose(values), fclose(places_of);
    printf("times,prepared,semaphore\n%ld,%ld,%hu\n", times, prepared, heard_semaphore);
    return 0;
}
