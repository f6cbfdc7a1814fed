#include "tests/sim/sim.h"
size_t scenario_run_all(const char *root, const char *dir, const char *match, bool update,
                        size_t *n)
{
    (void)root;
    (void)dir;
    (void)match;
    (void)update;
    *n = 0;
    return 0;
}
