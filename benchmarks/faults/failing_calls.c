/* Lets one call of the system that changes a file fail, the n-th from when it is armed.

   cc -shared -fPIC -O2 -o failing_calls.so failing_calls.c -ldl, then LD_PRELOAD it.

   How it fails: an error number (ENOSPC, EIO, …), or, for writes, -1: only half of the bytes are taken
   (and, as on a disk that has just become full, the next write finds no space). Opening for writing,
   writing, truncating, flushing, renaming and deleting count; standard output and error do not. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static long countdown = -1; /* Calls until the one that fails; below 0: none. */
static long seen = 0;       /* Calls since it was armed. */
static int how = 0;
static int then_full = 0;
static int armed = 0;
static char last[32] = "";

void failing_calls_arm(long at, int error) { countdown = at; seen = 0; how = error; then_full = 0; armed = 1; last[0] = 0; }
void failing_calls_disarm(void) { armed = 0; countdown = -1; then_full = 0; }
long failing_calls_seen(void) { return seen; }
const char *failing_calls_last(void) { return last; }

static int strikes(const char *name) {
  if (!armed) return 0;
  seen++;
  if (countdown < 0 || countdown-- != 0) return 0;
  strncpy(last, name, sizeof last - 1);
  return 1;
}

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__) = NULL; \
  if (!real) real = dlsym(RTLD_NEXT, name);

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t)
  if (fd <= 2) return real(fd, data, size);
  if (then_full && armed) { errno = ENOSPC; return -1; }
  if (strikes("write")) {
    if (how > 0) { errno = how; return -1; }
    then_full = 1;
    return real(fd, data, size / 2);
  }
  return real(fd, data, size);
}

int fsync(int fd) {
  REAL(int, "fsync", int)
  if (strikes("fsync")) { errno = how > 0 ? how : EIO; return -1; }
  return real(fd);
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *)
  if (strikes("rename")) { errno = how > 0 ? how : EIO; return -1; }
  return real(from, to);
}

int unlink(const char *path) {
  REAL(int, "unlink", const char *)
  if (strikes("unlink")) { errno = how > 0 ? how : EIO; return -1; }
  return real(path);
}

int ftruncate(int fd, off_t length) {
  REAL(int, "ftruncate", int, off_t)
  if (strikes("truncate")) { errno = how > 0 ? how : EIO; return -1; }
  return real(fd, length);
}

int ftruncate64(int fd, off_t length) {
  REAL(int, "ftruncate64", int, off_t)
  if (strikes("truncate")) { errno = how > 0 ? how : EIO; return -1; }
  return real(fd, length);
}

#define OPEN(symbol) \
  int symbol(const char *path, int flags, ...) { \
    REAL(int, #symbol, const char *, int, ...) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
    if ((flags & (O_WRONLY | O_RDWR)) && strikes("open")) { errno = how > 0 ? how : ENOSPC; return -1; } \
    return real(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
