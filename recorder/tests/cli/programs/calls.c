/* Calls each function as often as it says, and nothing else calls them. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <stdlib.h>

int turn(int);
int old_turn(int);
int plain(int);
int plain_too(int);
__asm__(".symver old_turn, turn@V1");
int twice_here(int), twice_there(int);

__attribute__((noinline)) int f(int i) { return -i; }
__attribute__((noinline, visibility("default"))) int exported(int i) { __asm__ volatile(""); return i; }

int main(void) {
    volatile int sum = 0;
    char from[4242], to[4242];
    memset(from, 1, sizeof from);
    for (int i = 0; i < 100; i++) sum += pthread_kill(pthread_self(), 0);
    for (int i = 0; i < 11; i++) sum += turn(i);
    for (int i = 0; i < 7; i++) sum += old_turn(i);
    for (int i = 0; i < 3; i++) sum += twice_here(i);
    for (int i = 0; i < 5; i++) sum += twice_there(i);
    for (int i = 0; i < 9; i++) sum += f(i);
    for (int i = 0; i < 4; i++) sum += plain(i);
    for (int i = 0; i < 2; i++) sum += plain_too(i);
    for (int i = 0; i < 6; i++) sum += exported(i);
    from[sizeof from - 1] = 0;
    for (int i = 0; i < 13; i++) stpncpy(to, from, sizeof to);
    return sum == 12345678;
}
