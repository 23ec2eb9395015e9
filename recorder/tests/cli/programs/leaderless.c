/* Its first thread ends at once; the other one waits for a byte, makes three directories and ends the process. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void *rest(void *unused) {
    char byte;
    if (read(0, &byte, 1) < 0) exit(1);
    for (const char *name = "abc"; *name; name++) mkdir((char[]){*name, 0}, 0700);
    exit(7);
    return unused;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, rest, 0);
    pthread_exit(0);
}
