/* A file layer under a real server: it delays and fails what the server does to the files of one directory, and keeps
 * what has been synced apart from what has only been written.
 *
 * Preloaded (LD_PRELOAD), so the server is the one that is shipped. Tests talk to it through a page of memory they share:
 *
 *     word  what                                              written by
 *     0     microseconds that each sync waits                 test
 *     1     errno of each sync, 0: it succeeds                test
 *     2     microseconds that each write waits                test
 *     3     errno of each write, 0: it succeeds               test
 *     4     errno of each creation, 0: it succeeds            test
 *     5     errno of each rename, 0: it succeeds              test
 *     6     bytes that files may still grow by, -1: any       test, counted down here
 *     7     operation at which the process is killed, 0: none test
 *     8     operations so far                                 layer
 *     9     writes, 10: bytes written                         layer
 *     11    syncs that succeeded                              layer
 *     12    operations that were failed                       layer
 *     13    syncs begun                                       layer
 *     14    microseconds that each read waits, and each
 *           question about a name                             test
 *     15    1: the clock fails once, in the thread of 40..    test, cleared here
 *     16    seconds by which the system's clock is wrong      test
 *     17    1: the thread of 40.. stands still                test
 *     18    1: it does                                        layer
 *     19    operations that wait now                          layer
 *     32..  64 bytes: only names with this in them are concerned by 0 to 6 and 14; empty: all
 *     40..  16 bytes: a thread's name
 *
 * What survives a power loss, at the least, lies in FAULTS_SYNCED: a copy of each file as of its last sync, under its
 * inode's number, and the names that the directory had at its last sync. Each file has a second link there, so that
 * no inode's number is used again. A sync that fails loses what it was for, as on Linux: the next one does not have it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { SYNC_US, SYNC_ERRNO, WRITE_US, WRITE_ERRNO, CREATE_ERRNO, RENAME_ERRNO, ROOM, KILL_AT, OPERATIONS,
       WRITES, BYTES, SYNCS, FAILED, SYNCS_BEGUN, READ_US, BREAK_CLOCK, CLOCK_S, HOLD, HELD, WAITING,
       ONLY = 32, THREAD = 40, WORDS = 512 };
enum { FILES_MAX = 4096 };

/* An open file or directory of the watched directory, at its descriptor. */
struct file {
    char path[256];
    int is_directory;
    /* Bytes written since the last sync lie between these. */
    off_t dirty_from, dirty_to;
};

static _Atomic int64_t *words;
static char directory[PATH_MAX], synced[PATH_MAX];
static struct file *files[FILES_MAX];
/* Recursive: copying what was synced opens and closes files itself. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *control = getenv("FAULTS_CONTROL"), *watched = getenv("FAULTS_DIRECTORY"), *kept = getenv("FAULTS_SYNCED");
    if (!control || !watched || !kept) return;
    REAL(open64);
    int fd = real(control, O_RDWR | O_CLOEXEC);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) abort();
    snprintf(directory, sizeof directory, "%s", watched);
    snprintf(synced, sizeof synced, "%s", kept);
    words = page;
}

static int is_watched(const char *path) {
    return words && strncmp(path, directory, strlen(directory)) == 0;
}

/* Counts an operation; the process may end here. Also later: one may have been made while the test said at which. */
static void count(void) {
    int64_t number = atomic_fetch_add(&words[OPERATIONS], 1) + 1, last = atomic_load(&words[KILL_AT]);
    if (last > 0 && number >= last) kill(getpid(), SIGKILL);
}

/* Waits for as long as the word says, in pieces: a test that takes the delay back ends it at once. */
static void delay(int word) {
    enum { PIECE_US = 5000 };
    if (atomic_load(&words[word]) == 0) return;
    atomic_fetch_add(&words[WAITING], 1);
    for (int64_t waited = 0, all; waited < (all = atomic_load(&words[word]));) {
        int64_t piece = all - waited < PIECE_US ? all - waited : PIECE_US;
        usleep((useconds_t)piece);
        waited += piece;
    }
    atomic_fetch_sub(&words[WAITING], 1);
}

/* Waits and fails as the test says; true: errno is set and the operation must not be made. */
static int fails(const char *path, int wait, int error) {
    const char *only = (const char *)&words[ONLY];
    if (*only && !strstr(path, only)) return 0;
    if (wait >= 0) delay(wait);
    int64_t code = atomic_load(&words[error]);
    if (code == 0) return 0;
    atomic_fetch_add(&words[FAILED], 1);
    errno = (int)code;
    return 1;
}

/* The file at a descriptor; NULL: not of the watched directory. */
static struct file *file_at(int fd) {
    return words && fd >= 0 && fd < FILES_MAX ? files[fd] : NULL;
}

/* The shadow of the inode at a descriptor, opened for writing. */
static int shadow_of(int fd, struct stat *about) {
    char path[PATH_MAX + 32];
    if (fstat(fd, about) < 0) return -1;
    snprintf(path, sizeof path, "%s/%llu", synced, (unsigned long long)about->st_ino);
    REAL(open64);
    return real(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
}

static void keep_bytes(int fd, off_t from, off_t to) {
    struct stat about;
    char self[64], buffer[1 << 16];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    REAL(open64);
    int source = real(self, O_RDONLY | O_CLOEXEC), shadow = shadow_of(fd, &about);
    ssize_t (*put)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    while (source >= 0 && shadow >= 0 && from < to) {
        size_t wanted = to - from < (off_t)sizeof buffer ? (size_t)(to - from) : sizeof buffer;
        ssize_t got = pread(source, buffer, wanted, from);
        if (got <= 0 || put(shadow, buffer, got, from) != got) break;
        from += got;
    }
    if (source >= 0) close(source);
    if (shadow >= 0) close(shadow);
}

static void keep_names(void) {
    char path[PATH_MAX + 32], temporary[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/names", synced);
    snprintf(temporary, sizeof temporary, "%s/names.tmp", synced);
    REAL(open64);
    int (*move)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    DIR *open_directory = opendir(directory);
    int out = real(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    for (struct dirent *entry; out >= 0 && open_directory && (entry = readdir(open_directory));)
        if (entry->d_type == DT_REG) dprintf(out, "%llu %s\n", (unsigned long long)entry->d_ino, entry->d_name);
    if (out >= 0) close(out);
    if (open_directory) closedir(open_directory);
    move(temporary, path);
}

/* ---- opening and closing ---- */

static void remember(int fd, const char *path, int is_creation) {
    if (fd < 0 || fd >= FILES_MAX) return;
    struct stat about;
    struct file *file = calloc(1, sizeof *file);
    snprintf(file->path, sizeof file->path, "%s", path);
    if (fstat(fd, &about) == 0) {
        file->is_directory = S_ISDIR(about.st_mode);
        if (is_creation) {
            char held[PATH_MAX + 32];
            snprintf(held, sizeof held, "%s/%llu.held", synced, (unsigned long long)about.st_ino);
            link(path, held);
        }
    }
    pthread_mutex_lock(&lock);
    free(files[fd]);
    files[fd] = file;
    pthread_mutex_unlock(&lock);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    REAL(open64);
    if (!is_watched(path)) return real(path, flags, mode);
    if (flags & O_CREAT) {
        count();
        if (fails(path, -1, CREATE_ERRNO)) return -1;
    }
    int fd = real(path, flags, mode);
    remember(fd, path, flags & O_CREAT);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

int close(int fd) {
    REAL(close);
    if (words && fd >= 0 && fd < FILES_MAX) {
        pthread_mutex_lock(&lock);
        free(files[fd]);
        files[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return real(fd);
}

/* ---- writing ---- */

/* How much of a write there is room for; -1: none, and errno is set. */
static ssize_t room_for(int fd, struct file *file, size_t bytes, off_t at) {
    struct stat about;
    const char *only = (const char *)&words[ONLY];
    int64_t room = atomic_load(&words[ROOM]);
    if (room < 0 || (*only && !strstr(file->path, only)) || fstat(fd, &about) < 0) return (ssize_t)bytes;
    int64_t growth = (int64_t)at + (int64_t)bytes - about.st_size;
    if (growth <= 0) return (ssize_t)bytes;
    if (growth > room) {
        bytes = growth - room < (int64_t)bytes ? bytes - (size_t)(growth - room) : 0;
        growth = room;
    }
    atomic_fetch_sub(&words[ROOM], growth);
    if (bytes > 0) return (ssize_t)bytes;
    atomic_fetch_add(&words[FAILED], 1);
    errno = ENOSPC;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    REAL(pwrite64);
    struct file *file = file_at(fd);
    if (!file) return real(fd, bytes, length, at);
    count();
    if (fails(file->path, WRITE_US, WRITE_ERRNO)) return -1;
    ssize_t wanted = room_for(fd, file, length, at);
    if (wanted < 0) return -1;
    ssize_t written = real(fd, bytes, (size_t)wanted, at);
    if (written > 0) {
        pthread_mutex_lock(&lock);
        if (file->dirty_to == 0 || at < file->dirty_from) file->dirty_from = at;
        if (at + written > file->dirty_to) file->dirty_to = at + written;
        pthread_mutex_unlock(&lock);
        atomic_fetch_add(&words[WRITES], 1);
        atomic_fetch_add(&words[BYTES], written);
    }
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    if (!file_at(fd)) return real(fd, bytes, length);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t written = pwrite64(fd, bytes, length, at);
    if (written > 0) lseek(fd, at + written, SEEK_SET);
    return written;
}

/* ---- reading ---- */

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at) {
    REAL(pread64);
    struct file *file = file_at(fd);
    const char *only = words ? (const char *)&words[ONLY] : "";
    if (file && (!*only || strstr(file->path, only))) delay(READ_US);
    return real(fd, bytes, length, at);
}

ssize_t read(int fd, void *bytes, size_t length) {
    REAL(read);
    struct file *file = file_at(fd);
    const char *only = words ? (const char *)&words[ONLY] : "";
    if (file && (!*only || strstr(file->path, only))) delay(READ_US);
    return real(fd, bytes, length);
}

/* ---- names ---- */

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    REAL(getaddrinfo);
    const char *only = words ? (const char *)&words[ONLY] : "";
    if (words && (!*only || (node && strstr(node, only)))) delay(READ_US);
    return real(node, service, hints, found);
}

/* ---- syncing ---- */

static int sync_with(int (*real)(int), int fd) {
    struct file *file = file_at(fd);
    if (!file) return real(fd);
    count();
    atomic_fetch_add(&words[SYNCS_BEGUN], 1);
    pthread_mutex_lock(&lock);
    off_t from = file->dirty_from, to = file->dirty_to;
    file->dirty_from = file->dirty_to = 0;
    pthread_mutex_unlock(&lock);
    if (fails(file->path, SYNC_US, SYNC_ERRNO)) return -1;
    int outcome = real(fd);
    if (outcome == 0) {
        pthread_mutex_lock(&lock);
        if (file->is_directory) keep_names();
        else keep_bytes(fd, from, to);
        pthread_mutex_unlock(&lock);
        atomic_fetch_add(&words[SYNCS], 1);
    }
    return outcome;
}

int fsync(int fd) {
    REAL(fsync);
    return sync_with(real, fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return sync_with(real, fd);
}

/* ---- names ---- */

int rename(const char *from, const char *to) {
    REAL(rename);
    if (!is_watched(to)) return real(from, to);
    count();
    if (fails(to, -1, RENAME_ERRNO)) return -1;
    return real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    if (is_watched(path)) count();
    return real(path);
}

/* ---- the clock ---- */

/* A clock that fails is a panic in whatever thread reads it: no program has a way to go on. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*_Atomic kept)(clockid_t, struct timespec *);
    int (*real)(clockid_t, struct timespec *) = atomic_load(&kept);
    if (!real) {
        real = dlsym(RTLD_NEXT, "clock_gettime");
        atomic_store(&kept, real);
    }
    int64_t wanted = 1;
    char name[17] = "";
    if (words && atomic_load(&words[BREAK_CLOCK]) && prctl(PR_GET_NAME, name) == 0 &&
        strncmp(name, (const char *)&words[THREAD], 16) == 0 &&
        atomic_compare_exchange_strong(&words[BREAK_CLOCK], &wanted, 0)) {
        errno = EINVAL;
        return -1;
    }
    int outcome = real(clock, time);
    if (outcome == 0 && clock == CLOCK_REALTIME && words) time->tv_sec += atomic_load(&words[CLOCK_S]);
    return outcome;
}

/* ---- threads ---- */

/* A thread stands still where it would wait for something to do: it holds no lock, and nothing is half done. */
int epoll_wait(int epoll, struct epoll_event *events, int events_max, int timeout) {
    static int (*_Atomic kept)(int, struct epoll_event *, int, int);
    int (*real)(int, struct epoll_event *, int, int) = atomic_load(&kept);
    if (!real) {
        real = dlsym(RTLD_NEXT, "epoll_wait");
        atomic_store(&kept, real);
    }
    char name[17] = "";
    if (words && atomic_load(&words[HOLD]) && prctl(PR_GET_NAME, name) == 0 &&
        strncmp(name, (const char *)&words[THREAD], 16) == 0) {
        atomic_store(&words[HELD], 1);
        while (atomic_load(&words[HOLD])) usleep(1000);
        atomic_store(&words[HELD], 0);
    }
    return real(epoll, events, events_max, timeout);
}
