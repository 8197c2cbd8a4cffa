/* Preloaded into Orthanc: no thread has less stack than glibc gives by itself, 8 MiB.

   Debian's CivetWeb gives a thread that answers a request 100 KiB. GDCM takes more than that to convert
   JPEG 2000, and the process ended: whoever retrieved such an image in another syntax stopped the archive. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

enum { LEAST_BYTES = 8 << 20 };

int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t bytes)
{
    int (*next)(pthread_attr_t *, size_t) = dlsym(RTLD_NEXT, "pthread_attr_setstacksize");
    return next(attributes, bytes < LEAST_BYTES ? LEAST_BYTES : bytes);
}
