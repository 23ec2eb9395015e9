/* Has the probes that runtimes of languages and databases have built in, with their names and arguments: those of python are of
 * CPython 3.11, of postgresql of PostgreSQL 15, of hotspot of OpenJDK 17 and 25, of mysql of MySQL 5.7.
 *
 *   runtimes DIR   comes past them in several threads at a time, and writes what it did into DIR/did.csv: what begins and
 *                  ends, in their order in each thread, and how long that took, measured within the two probes and around them */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

/* A probe whose arguments the program prepares only if somebody listens, as python and postgresql have them. */
#define SEMAPHORE(name) static unsigned short name##_semaphore __attribute__((section(".probes"), used))
#define IS_HEARD(name) (*(volatile unsigned short *)&name##_semaphore)

SEMAPHORE(function__entry);
SEMAPHORE(function__return);
SEMAPHORE(gc__start);
SEMAPHORE(gc__done);
SEMAPHORE(statement__status);

static FILE *did;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t together;
static __thread int nth;

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void take(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static int tid(void) { return (int)syscall(SYS_gettid); }

/* The nth of its kind in this thread. Times of -1: it did not end. */
static void write_down(const char *what, int nth, const char *name, long value, int depth, long inner_ns, long outer_ns) {
    pthread_mutex_lock(&writing);
    fprintf(did, "%s,%d,%d,%s,%ld,%d,%ld,%ld\n", what, tid(), nth, name, value, depth, inner_ns, outer_ns);
    pthread_mutex_unlock(&writing);
}

/* CPython: functions that call each other and themselves, with file, name and line. */
static __attribute__((noinline)) void python_probe(int is_entry, const char *file, const char *name, int line) {
    if (is_entry && IS_HEARD(function__entry))
        __asm__ volatile(PROBE("python", "function__entry", "function__entry_semaphore", "8@%0 8@%1 -4@%2") : : "nor"(file), "nor"(name), "nor"(line));
    if (!is_entry && IS_HEARD(function__return))
        __asm__ volatile(PROBE("python", "function__return", "function__return_semaphore", "8@%0 8@%1 -4@%2") : : "nor"(file), "nor"(name), "nor"(line));
}

static void python_call(const char *name, int depth, int deepest) {
    int at = nth++;
    long outer = now();
    python_probe(1, "job.py", name, 10 + depth);
    long inner = now();
    take(2);
    /* Both call themselves and each other: even, even, odd, odd, even ... */
    if (depth < deepest) python_call(depth % 4 < 2 ? "even" : "odd", depth + 1, deepest);
    if (depth < deepest && depth % 2) python_call("leaf", depth + 1, 0);
    inner = now() - inner;
    python_probe(0, "job.py", name, 20 + depth);
    write_down("python", at, name, 10 + depth, depth, inner, now() - outer);
}

/* Collections of one generation, in threads of their own: at the same time, if there are several interpreters. */
static __attribute__((noinline)) void python_gc(int generation, long found, long ms) {
    int at = nth++;
    long outer = now();
    volatile int on_stack = generation;
    if (IS_HEARD(gc__start)) __asm__ volatile(PROBE("python", "gc__start", "gc__start_semaphore", "-4@%0") : : "m"(on_stack));
    long inner = now();
    take(ms);
    inner = now() - inner;
    if (IS_HEARD(gc__done)) __asm__ volatile(PROBE("python", "gc__done", "gc__done_semaphore", "-8@%0") : : "nor"(found));
    write_down("python_gc", at, "", found, 0, inner, now() - outer);
}

/* PostgreSQL: what the server does now, and NULL when it is done. */
static __attribute__((noinline)) void postgresql_status(const char *text) {
    if (IS_HEARD(statement__status))
        __asm__ volatile(PROBE("postgresql", "statement__status", "statement__status_semaphore", "8@%0") : : "r"(text));
}

/* A simple query, or one that is parsed, bound and executed: three steps of the same text. */
static void postgresql_query(const char *text, int steps, long ms) {
    long before[4], after[4];
    for (int i = 0; i <= steps; i++) {
        before[i] = now();
        postgresql_status(i < steps ? text : NULL);
        after[i] = now();
        if (i < steps) take(i == steps - 1 ? ms : 1);
    }
    for (int i = 0; i < steps; i++) write_down("postgresql", nth++, text, steps, 0, before[i + 1] - after[i], after[i + 1] - before[i]);
}

/* MySQL: a query with its connection, database, user and host, and the error it ended with. */
static __attribute__((noinline)) void mysql_query(const char *text, long connection, int status, long ms) {
    const char *db = "shop", *user = "anna", *host = "localhost";
    int at = nth++;
    long outer = now();
    __asm__ volatile(PROBE("mysql", "query__start", "0", "8@%0 8@%1 8@%2 8@%3 8@%4") : : "nor"(text), "nor"(connection), "nor"(db), "nor"(user), "nor"(host));
    long inner = now();
    take(ms);
    inner = now() - inner;
    __asm__ volatile(PROBE("mysql", "query__done", "0", "-4@%0") : : "nor"(status));
    write_down("mysql", at, text, status, 0, inner, now() - outer);
}

/* HotSpot: names have a length, and no zero behind them. */
static const char names[] = "Spin.javafooSpinNodeG1 Old GenerationG1 Eden SpaceG1 Old Gen";
#define SPIN names + 12, 4
#define NODE names + 16, 4
#define EDEN names + 37, 13
#define OLD names + 50, 10

static __attribute__((noinline)) void hotspot_method(int is_entry) {
    const char *class = names + 12, *method = names + 9;
    int class_length = 4, method_length = 3;
    long thread = tid();
    if (is_entry)
        __asm__ volatile(PROBE("hotspot", "method__entry", "0", "-8@%0 8@%1 -4@%2 8@%3 -4@%4") : : "nor"(thread), "nor"(class), "nor"(class_length), "nor"(method), "nor"(method_length));
    else
        __asm__ volatile(PROBE("hotspot", "method__return", "0", "-8@%0 8@%1 -4@%2 8@%3 -4@%4") : : "nor"(thread), "nor"(class), "nor"(class_length), "nor"(method), "nor"(method_length));
}

/* Calls itself as deep as `deepest`; if it `stays`, the thread ends in the deepest call, so that none of them returns. */
static void hotspot_call(int depth, int deepest, int stays) {
    int at = nth++;
    long outer = now();
    hotspot_method(1);
    long inner = now();
    take(3);
    if (depth == deepest && stays) {
        write_down("method", at, "Spin.foo", 0, depth, -1, -1);
        return;
    }
    if (depth < deepest) hotspot_call(depth + 1, deepest, stays);
    if (stays) {
        write_down("method", at, "Spin.foo", 0, depth, -1, -1);
        return;
    }
    inner = now() - inner;
    hotspot_method(0);
    write_down("method", at, "Spin.foo", 0, depth, inner, now() - outer);
}

static __attribute__((noinline)) void hotspot_pool(int is_begin, const char *pool, int length, long used) {
    const char *manager = names + 20;
    long manager_length = 17, pool_length = length, zero = 0;
    if (is_begin)
        __asm__ volatile(PROBE("hotspot", "mem__pool__gc__begin", "0", "8@%0 8@%1 8@%2 8@%3 8@%4 8@%5 8@%4 8@%4") : : "nor"(manager), "nor"(manager_length), "nor"(pool), "nor"(pool_length), "n"(0), "nor"(used), "nor"(zero));
    else
        __asm__ volatile(PROBE("hotspot", "mem__pool__gc__end", "0", "8@%0 8@%1 8@%2 8@%3 8@%4 8@%5 8@%4 8@%4") : : "nor"(manager), "nor"(manager_length), "nor"(pool), "nor"(pool_length), "n"(0), "nor"(used), "nor"(zero));
}

/* A pause, within which two pools of memory are collected. The probe stands at two places, as in OpenJDK 25. */
static __attribute__((noinline)) void hotspot_gc(int is_full, long ms) {
    unsigned char full = (unsigned char)is_full;
    int at = nth++;
    long outer = now();
    if (is_full)
        __asm__ volatile(PROBE("hotspot", "gc__begin", "0", "1@$1"));
    else
        __asm__ volatile(PROBE("hotspot", "gc__begin", "0", "1@%0") : : "q"(full));
    long inner = now();
    hotspot_pool(1, EDEN, 1000);
    hotspot_pool(1, OLD, 5000);
    take(ms);
    hotspot_pool(0, EDEN, 0);
    hotspot_pool(0, OLD, 4000);
    inner = now() - inner;
    __asm__ volatile(PROBE("hotspot", "gc__end", "0", ""));
    write_down("hotspot_gc", at, "", is_full, 0, inner, now() - outer);
}

static __attribute__((noinline)) void hotspot_object(const char *class, int length, long bytes) {
    long thread = tid();
    __asm__ volatile(PROBE("hotspot", "object__alloc", "0", "-8@%0 8@%1 -4@%2 8@%3") : : "nor"(thread), "nor"(class), "nor"(length), "nor"(bytes));
}

static __attribute__((noinline)) void hotspot_class(const char *class, int length) {
    __asm__ volatile(PROBE("hotspot", "class__loaded", "0", "8@%0 -4@%1 8@%2 1@%b3") : : "nor"(class), "nor"(length), "r"(NULL), "q"(0));
}

static __attribute__((noinline)) void hotspot_thread(int is_start, const char *name, int length) {
    long id = tid() + 1000, native = tid();
    unsigned char is_daemon = length % 2;
    if (is_start)
        __asm__ volatile(PROBE("hotspot", "thread__start", "0", "8@%0 -4@%1 -8@%2 8@%3 1@%4") : : "nor"(name), "nor"(length), "nor"(id), "nor"(native), "q"(is_daemon));
    else
        __asm__ volatile(PROBE("hotspot", "thread__stop", "0", "8@%0 -4@%1 -8@%2 8@%3 1@%4") : : "nor"(name), "nor"(length), "nor"(id), "nor"(native), "q"(is_daemon));
}

/* A thread with a name, of which so many characters count. */
static void *thread(void *which) {
    static const char *const text[] = {"main-xx", "worker-1xx", "worker-2xx"};
    long i = (long)which;
    int length = (int)strlen(text[i]) - 2;
    char name[16];
    snprintf(name, sizeof name, "%.*s", length, text[i]);
    pthread_barrier_wait(&together);
    long outer = now();
    hotspot_thread(1, text[i], length);
    long inner = now();
    for (int n = 0; n < 2; n++) python_call("main", 0, 5 + (int)i);
    nth = 0;
    for (int n = 0; n < 3; n++) python_gc(n, 100 * i + n, 5 + 7 * i + n);
    nth = 0;
    /* The first thread's collections take long, and those of the others come and go meanwhile. */
    if (i == 0) hotspot_gc(1, 4500);
    for (int n = 0; n < 5; n++) hotspot_gc(n % 2, 4 + 3 * i);
    char query[64];
    nth = 0;
    for (int n = 0; n < 4; n++) {
        snprintf(query, sizeof query, "SELECT %d FROM t%ld", n, i);
        mysql_query(query, i, n == 3 ? 1064 : 0, n == 2 ? 60 : 2 + i);
    }
    for (int n = 0; n < 10 * (i + 1); n++) hotspot_object(n % 2 ? names + 12 : names + 16, 4, n % 2 ? 24 : 40);
    hotspot_class(SPIN);
    hotspot_class(NODE);
    nth = 0;
    hotspot_call(0, 4 + (int)i, 0);
    if (i < 2) {
        inner = now() - inner;
        hotspot_thread(0, text[i], length);
        write_down("thread", 0, name, tid() + 1000, 0, inner, now() - outer);
    } else {
        write_down("thread", 0, name, tid() + 1000, 0, -1, -1);
    }
    hotspot_call(0, 2, 1);
    return NULL;
}

/* A server has a process for each connection. */
static void connection(int i) {
    nth = 0;
    char query[64];
    for (int n = 0; n < 6; n++) {
        snprintf(query, sizeof query, "UPDATE c%d SET n = %d", i, n);
        postgresql_query(query, n % 2 ? 3 : 1, n == 4 ? 55 : n == 5 ? 65 : 2);
        postgresql_status(NULL);
    }
}

int main(int n, char **args) {
    if (n < 2 || chdir(args[1]) || !(did = fopen("did.csv", "w"))) return 1;
    setvbuf(did, NULL, _IOLBF, BUFSIZ);
    fprintf(did, "what,tid,nth,name,value,depth,inner_ns,outer_ns\n");
    pid_t other = fork();
    /* Names that no page table has yet could not be recorded. */
    if (mlockall(MCL_CURRENT | MCL_FUTURE)) return 1;
    connection(other != 0);
    if (!other) _exit(0);
    /* All start at the same time. */
    pthread_t threads[3];
    pthread_barrier_init(&together, NULL, 3);
    for (long i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, thread, (void *)i)) return 1;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    return 0;
}
