/* Counts the calls of libc that change files below one folder, and lets one of them go wrong. Preloaded (LD_PRELOAD)
 * into the server that trials are forked from; idle until a child arms it. What SQLite, Python or anybody else calls
 * goes through here, whoever wrote the code. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { COUNT, EIO_ONCE, EIO_ON, ENOSPC_ONCE, ENOSPC_ON, TORN, KILL, AFTER };
enum { PASS, FAIL, HALF, DIE_AFTER };

static char root[4096];
static atomic_int armed, kind, seen, fired;
static int number;

void chaos_arm(const char *folder, int wanted_kind, int wanted_number) {
    snprintf(root, sizeof root, "%s", folder);
    kind = wanted_kind;
    number = wanted_number;
    seen = fired = 0;
    armed = 1;
}

int chaos_seen(void) { return seen; }
int chaos_fired(void) { return fired; }

static int below_path(const char *path) { return strncmp(path, root, strlen(root)) == 0; }

static int below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below_path(path);
}

/* Decides about one call. `writes`: it takes space, so that a full disk concerns it, and half of it can be made. */
static int judge(int writes) {
    int space = kind == ENOSPC_ONCE || kind == ENOSPC_ON;
    if ((space || kind == TORN) && !writes) return PASS;
    int mine = ++seen;
    int on = kind == EIO_ON || kind == ENOSPC_ON;
    if (kind == COUNT || !(mine == number || (on && mine > number))) return PASS;
    fired = 1;
    if (kind == KILL) kill(getpid(), SIGKILL);
    if (kind == TORN) return HALF;
    if (kind == AFTER) return DIE_AFTER;
    errno = space ? ENOSPC : EIO;
    return FAIL;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define GUARD(concerned, writes, call)                                                                                 \
    int verdict = armed && (concerned) ? judge(writes) : PASS;                                                         \
    if (verdict == FAIL) return -1;                                                                                    \
    __typeof__(call) result = call;                                                                                    \
    if (verdict == HALF || verdict == DIE_AFTER) kill(getpid(), SIGKILL);                                              \
    return result;

ssize_t write(int fd, const void *data, size_t size) {
    GUARD(below(fd), 1, REAL(write)(fd, data, verdict == HALF ? size / 2 : size))
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    GUARD(below(fd), 1, REAL(pwrite64)(fd, data, verdict == HALF ? size / 2 : size, at))
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    GUARD(below(fd), 1, REAL(pwrite)(fd, data, verdict == HALF ? size / 2 : size, at))
}
int fsync(int fd) { GUARD(below(fd), 0, REAL(fsync)(fd)) }
int fdatasync(int fd) { GUARD(below(fd), 0, REAL(fdatasync)(fd)) }
int ftruncate(int fd, off_t size) { GUARD(below(fd), 0, REAL(ftruncate)(fd, size)) }
int ftruncate64(int fd, off64_t size) { GUARD(below(fd), 0, REAL(ftruncate64)(fd, size)) }
int unlink(const char *path) { GUARD(below_path(path), 0, REAL(unlink)(path)) }
int rename(const char *from, const char *to) { GUARD(below_path(from), 0, REAL(rename)(from, to)) }
int mkdir(const char *path, mode_t mode);
int mkdir(const char *path, mode_t mode) { GUARD(below_path(path), 1, REAL(mkdir)(path, mode)) }
