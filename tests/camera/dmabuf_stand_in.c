// SPDX-License-Identifier: Apache-2.0
// For kernels without /dev/udmabuf and /dev/dma_heap, to be loaded with LD_PRELOAD: whoever opens one of them gets a
// memfd, and what libcamera and picamera2 ask of it is answered with plain shared memory. Tests only.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int opened(int folder, const char *path, int flags, mode_t mode) {
    if (path && (!strcmp(path, "/dev/udmabuf") || !strncmp(path, "/dev/dma_heap/", 14)))
        return memfd_create("dmabuf", MFD_CLOEXEC);
    return syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE(after)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) {                                                              \
        va_list list;                                                                                                  \
        va_start(list, after);                                                                                         \
        mode = va_arg(list, mode_t);                                                                                   \
        va_end(list);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags) return opened(folder, path, flags | O_LARGEFILE, mode);
}

int ioctl(int fd, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (request == UDMABUF_CREATE) {
        struct udmabuf_create *wish = argument;
        return fcntl(wish->memfd, F_DUPFD_CLOEXEC, 0);
    }
    if (request == DMA_HEAP_IOCTL_ALLOC) {
        struct dma_heap_allocation_data *wish = argument;
        int made = memfd_create("heap", MFD_CLOEXEC);
        if (made < 0 || ftruncate(made, wish->len))
            return -1;
        wish->fd = made;
        return 0;
    }
    if (request == DMA_BUF_IOCTL_SYNC || _IOC_TYPE(request) == 'b' && _IOC_NR(request) == 1) // 1: DMA_BUF_SET_NAME
        return 0;
    return syscall(SYS_ioctl, fd, request, argument);
}
