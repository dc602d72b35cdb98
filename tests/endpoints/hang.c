/* A disk that stops to answer: from when the file "hang" exists, the readers of the store read nothing any more. The
 * first of them makes the file "hung". */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static void hang_if_told(void) {
    char name[16] = "";
    if (pthread_getname_np(pthread_self(), name, sizeof name) || strcmp(name, "sqlite-reader")) return;
    if (access("hang", F_OK)) return;
    close(open("hung", O_CREAT | O_WRONLY, 0600));
    for (;;) pause();
}

ssize_t read(int file, void *bytes, size_t count) {
    static ssize_t (*next)(int, void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "read");
    hang_if_told();
    return next(file, bytes, count);
}

ssize_t pread64(int file, void *bytes, size_t count, off64_t offset) {
    static ssize_t (*next)(int, void *, size_t, off64_t);
    if (!next) next = dlsym(RTLD_NEXT, "pread64");
    hang_if_told();
    return next(file, bytes, count, offset);
}
