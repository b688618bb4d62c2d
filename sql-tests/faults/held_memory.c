/* Loaded into an executor, once: holds memory that it never gives back, as a leak would. */
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>

__attribute__((constructor)) static void hold(void) {
    char arguments[256] = {0};
    int file = open("/proc/self/cmdline", O_RDONLY);
    if (file < 0 || read(file, arguments, sizeof arguments - 1) <= 0) return;
    close(file);
    const char *first = arguments + strlen(arguments) + 1;
    const char *once = getenv("HELD_MEMORY_ONCE"), *bytes = getenv("HELD_MEMORY_BYTES");
    if (strcmp(first, "executor") != 0 || !once || !bytes || unlink(once) != 0) return;
    size_t size = strtoull(bytes, NULL, 10);
    void *held = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (held != MAP_FAILED) memset(held, 1, size);
}
