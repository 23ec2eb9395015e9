/* Takes mutexes in threads one after the other, so that nobody waits, and at last in two at once, which wait for each other.
 *
 *   mutexes DIR   writes into DIR/expected.csv which mutexes are taken in a circle */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Named A to Z; their addresses are in this order. */
static pthread_mutex_t mutexes[26];
/* How often they were made or destroyed: the same address with another number is another mutex. */
static int made[26];
static volatile int tids[2];

/* Does what each word says: A takes it, ?A tries to, -A gives it back. */
static void *take(void *words) {
    const char *at = words;
    for (; *at; at++) {
        pthread_mutex_t *mutex = &mutexes[(*at == '-' || *at == '?' ? *++at : *at) - 'A'];
        if (at > (char *)words && at[-1] == '-')
            pthread_mutex_unlock(mutex);
        else if (at > (char *)words && at[-1] == '?')
            pthread_mutex_trylock(mutex);
        else
            pthread_mutex_lock(mutex);
    }
    return NULL;
}

static int in_thread(const char *words) {
    pthread_t thread;
    return pthread_create(&thread, NULL, take, (void *)words) || pthread_join(thread, NULL);
}

/* Takes the first mutex, waits until another thread has the second, and wants that: for ever. */
static void *wait_for(void *words) {
    const char *names = words;
    int which = names[0] == 'X';
    pthread_mutex_lock(&mutexes[names[0] - 'A']);
    tids[which] = (int)syscall(SYS_gettid);
    while (!tids[!which]) usleep(1000);
    tids[which] = -tids[which];
    pthread_mutex_lock(&mutexes[names[1] - 'A']);
    return NULL;
}

static int sleeps(int tid) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    fread(text, 1, sizeof text - 1, file);
    fclose(file);
    char *end = strrchr(text, ')');
    return end && end[2] == 'S';
}

static void make(char name, int type) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    pthread_mutex_init(&mutexes[name - 'A'], &attributes);
    made[name - 'A']++;
}

static void expect(FILE *file, const char *names) {
    fprintf(file, "%s,", names);
    for (const char *name = names; *name; name++) fprintf(file, "%p.%d ", (void *)&mutexes[*name - 'A'], made[*name - 'A']);
    fprintf(file, "%p.%d\n", (void *)&mutexes[*names - 'A'], made[*names - 'A']);
}

int main(int n, char **args) {
    if (n < 2 || chdir(args[1])) return 1;
    for (char name = 'A'; name <= 'Z'; name++) make(name, PTHREAD_MUTEX_NORMAL);
    make('Q', PTHREAD_MUTEX_ERRORCHECK);
    make('R', PTHREAD_MUTEX_RECURSIVE);
    FILE *file = fopen("expected.csv", "w");
    fprintf(file, "names,cycle\n");

    /* Two, and three, in a circle; the second of them also under another one, which makes no circle. */
    if (in_thread("AB-B-A") || in_thread("BA-A-B")) return 1;
    expect(file, "AB");
    if (in_thread("CD-D-C") || in_thread("DE-E-D") || in_thread("EC-C-E") || in_thread("FCD-D-C-F")) return 1;
    expect(file, "CDE");
    /* G is not had by the one that only tried to have it. */
    pthread_mutex_lock(&mutexes['G' - 'A']);
    if (in_thread("?GH-H")) return 1;
    pthread_mutex_unlock(&mutexes['G' - 'A']);
    if (in_thread("HG-G-H")) return 1;
    /* I is had by the one that tried, and got it. */
    if (in_thread("?IJ-J-I") || in_thread("JI-I-J")) return 1;
    expect(file, "IJ");
    /* Nobody waits who only tries. */
    if (in_thread("K?L-L-K") || in_thread("LK-K-L")) return 1;
    /* M is another mutex in the same place. */
    if (in_thread("MN-N-M")) return 1;
    pthread_mutex_destroy(&mutexes['M' - 'A']);
    made['M' - 'A']++;
    make('M', PTHREAD_MUTEX_NORMAL);
    if (in_thread("NM-M-N")) return 1;
    /* Taken again: Q refuses that and is not had any more after it is given back, R counts and is. */
    if (in_thread("QQ-QT-T") || in_thread("TQ-Q-T")) return 1;
    if (in_thread("RR-RS-S-R") || in_thread("SR-R-S")) return 1;
    expect(file, "RS");
    /* Given back in another order than taken: U is not had when W is wanted, V is. */
    if (in_thread("UV-UW-W-V") || in_thread("WU-U-W")) return 1;
    expect(file, "UVW");

    pthread_t threads[2];
    if (pthread_create(&threads[0], NULL, wait_for, "XY") || pthread_create(&threads[1], NULL, wait_for, "YX")) return 1;
    for (int calm = 0; calm < 50;) {
        usleep(2000);
        calm = tids[0] < 0 && tids[1] < 0 && sleeps(-tids[0]) && sleeps(-tids[1]) ? calm + 1 : 0;
    }
    expect(file, "XY");
    fclose(file);
    return 0;
}
