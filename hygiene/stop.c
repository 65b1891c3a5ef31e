/* The end: of two who may have something in flight, the later one ends the loop. */
#include "hygiene/hygiene.h"
#include "hygiene/judge.h"
#include "hygiene/pickup.h"

void hygiene_stop(struct hygiene *h)
{
    bool judged = judge_stop(h->judge);
    if (pickup_stop(h->pickup) && judged)
        daemon_stopped(h->d);
}
