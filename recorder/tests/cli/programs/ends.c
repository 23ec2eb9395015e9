// Processes that end in ways in which the main thread is not the last, as their parent sees it.
//   ends CASE...    runs each case in a child: prints CASE PID WAIT-STATUS START-TICKS TID
//   ends hold       ends its main thread, prints its number, and lives on in another until standard input ends
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 16 };
static atomic_int ready;
static int report;

static void leave(int code) { syscall(SYS_exit, code); }
static void nap(void) { usleep(200 * 1000); }
static void tell_tid(void) {
    int tid = syscall(SYS_gettid);
    if (write(report, &tid, sizeof tid) != sizeof tid) abort();
}

static void *exits(void *code) { nap(); tell_tid(); _exit((long)code); }
static void *leaves(void *code) { nap(); tell_tid(); leave((long)code); return NULL; }
static void *is_killed(void *signal) {
    nap();
    tell_tid();
    kill(getpid(), (long)signal);
    for (;;) pause();
    return NULL;
}
static void *executes(void *path) {
    tell_tid();
    execl("/bin/sh", "sh", "-c", path, (char *)NULL);
    _exit(99);
}
static void *meets(void *code) {
    atomic_fetch_add(&ready, 1);
    while (atomic_load(&ready) < THREADS + 1) ;
    leave((long)code);
    return NULL;
}
static void *is_named(void *name) {
    prctl(PR_SET_NAME, name);
    FILE *comm = fopen("/proc/self/comm", "w");
    fputs("by_file", comm);
    fclose(comm);
    tell_tid();
    return NULL;
}

static pthread_t start(void *(*f)(void *), long argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, f, (void *)argument)) abort();
    return thread;
}

static void child(const char *name) {
    if (!strcmp(name, "plain")) _exit(3);
    if (!strcmp(name, "last_exits")) { start(exits, 7); leave(0); }
    if (!strcmp(name, "last_leaves")) { start(leaves, 5); leave(6); }
    if (!strcmp(name, "other_exits")) { start(exits, 9); for (;;) pause(); }
    if (!strcmp(name, "last_killed")) { start(is_killed, SIGKILL); leave(0); }
    if (!strcmp(name, "last_aborts")) { start(is_killed, SIGABRT); leave(0); }
    if (!strcmp(name, "executes")) { start(executes, (long)"exit 4"); for (;;) pause(); }
    if (!strcmp(name, "last_executes")) { start(executes, (long)"exit 4"); leave(1); }
    if (!strcmp(name, "together")) {
        for (int i = 0; i < THREADS; i++) start(meets, 0);
        meets((void *)0);
    }
    if (!strcmp(name, "named")) {
        prctl(PR_SET_NAME, "main_one");
        pthread_join(start(is_named, (long)"second_one"), NULL);
        _exit(0);
    }
    _exit(98);
}

static void run(const char *name) {
    int ends[2], tid = 0, status;
    if (pipe(ends)) abort();
    report = ends[1];
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) { close(ends[0]); child(name); }
    close(ends[1]);
    // Until all have closed it: a program that is executed keeps it to its end.
    for (int next; read(ends[0], &next, sizeof next) == sizeof next;) tid = next;
    close(ends[0]);
    siginfo_t info;
    waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
    char path[64], text[1024] = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *stat = fopen(path, "r");
    if (!fread(text, 1, sizeof text - 1, stat)) abort();
    fclose(stat);
    // Field 22; the name, which may have blanks, ends with the last ')'.
    char *at = strrchr(text, ')');
    for (int field = 2; field < 22; field++) at = strchr(at + 1, ' ');
    waitpid(pid, &status, 0);
    printf("%s %d %d %ld %d\n", name, pid, status, atol(at), tid);
}

static void *holds(void *nothing) {
    char byte;
    (void)nothing;
    nap();
    printf("%d\n", getpid());
    fflush(stdout);
    while (read(0, &byte, 1) > 0) ;
    _exit(5);
}

int main(int n, char **arguments) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (n > 1 && !strcmp(arguments[1], "hold")) { start(holds, 0); leave(0); }
    for (int i = 1; i < n; i++) run(arguments[i]);
    return 0;
}
