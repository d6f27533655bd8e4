/* vector.c - QEMU 5.2 tells programs nothing of the processor's extensions, where the vendor's Linux tells that there are
 * vectors. Linked into a program, or loaded before its libraries, this adds it. */
#include <sys/auxv.h>

unsigned long __getauxval(unsigned long type);  /* glibc's own name for it */

unsigned long getauxval(unsigned long type)
{
    return __getauxval(type) | (type == AT_HWCAP ? 1ul << ('V' - 'A') : 0);
}
