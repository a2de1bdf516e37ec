/* Shows a second symbol; built without the version script. */
#include "base.h"

__attribute__((visibility("default"))) int second_symbol(void);
int second_symbol(void) { return 2; }
