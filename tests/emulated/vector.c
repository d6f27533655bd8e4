/* vector.c - QEMU 5.2 tells programs nothing of the processor's extensions, where the vendor's Linux tells that there are
 * vectors. Linked with --wrap=getauxval this adds it. */
#include <sys/auxv.h>

unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);

unsigned long __wrap_getauxval(unsigned long type)
{
    return __real_getauxval(type) | (type == AT_HWCAP ? 1ul << ('V' - 'A') : 0);
}
