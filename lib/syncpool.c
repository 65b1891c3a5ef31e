/* A queue of descriptors, a few threads that fsync them, and an eventfd that brings finished jobs
 * back to the loop. The threads touch nothing but the queue: no libevent, no ledger, no log. */
#include "lib/syncpool.h"
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job {
    struct job *next;
    syncpool_fn *fn;
    void *arg;
    int failed_errno; /* the first failure */
    int last_fd;
    size_t count, taken, synced;
    int fds[];
};

struct syncpool {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct job *open, **open_tail; /* with descriptors that nobody has taken yet */
    struct job *finished, **finished_tail;
    bool ending;
    bool in_callback, freed; /* freed by its own callback: on_wake gives the memory back */
    size_t under_way;        /* jobs that were not told of yet; the loop's own, as all below */
    void (*idle)(void *arg);
    void *idle_arg;
    int wake_fd;
    struct event *wake;
    size_t thread_count;
    pthread_t threads[SYNCPOOL_THREADS];
};

static int sync_one(int fd)
{
    return fsync(fd) == 0 ? 0 : errno;
}

/* The thread that synced the last file also syncs the directory, and reports. Called with the mutex
 * held. */
static void finish(struct syncpool *pool, struct job *job)
{
    if (job->failed_errno == 0 && job->last_fd >= 0) {
        (void)pthread_mutex_unlock(&pool->mutex);
        int failed = sync_one(job->last_fd);
        (void)pthread_mutex_lock(&pool->mutex);
        job->failed_errno = failed;
    }
    job->next = NULL;
    *pool->finished_tail = job;
    pool->finished_tail = &job->next;
    (void)eventfd_write(pool->wake_fd, 1);
}

static void sync_next(struct syncpool *pool)
{
    struct job *job = pool->open;
    int fd = job->count > 0 ? job->fds[job->taken] : -1;
    job->taken++;
    if (job->taken >= job->count) {
        pool->open = job->next;
        if (pool->open == NULL)
            pool->open_tail = &pool->open;
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    int failed = fd >= 0 ? sync_one(fd) : 0;
    (void)pthread_mutex_lock(&pool->mutex);
    if (failed != 0 && job->failed_errno == 0)
        job->failed_errno = failed;
    if (++job->synced >= job->count)
        finish(pool, job);
}

static void *work(void *arg)
{
    struct syncpool *pool = arg;
    (void)pthread_mutex_lock(&pool->mutex);
    while (!pool->ending) {
        if (pool->open != NULL)
            sync_next(pool);
        else
            (void)pthread_cond_wait(&pool->work, &pool->mutex);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

static void free_jobs(struct job *job)
{
    while (job != NULL) {
        struct job *next = job->next;
        free(job);
        job = next;
    }
}

static void tell_when_idle(struct syncpool *pool)
{
    void (*fn)(void *arg) = pool->idle;
    if (fn == NULL || pool->under_way > 0)
        return;
    pool->idle = NULL;
    fn(pool->idle_arg);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct syncpool *pool = arg;
    eventfd_t n;
    (void)eventfd_read(fd, &n);
    (void)pthread_mutex_lock(&pool->mutex);
    struct job *job = pool->finished;
    pool->finished = NULL;
    pool->finished_tail = &pool->finished;
    (void)pthread_mutex_unlock(&pool->mutex);
    pool->in_callback = true;
    while (job != NULL && !pool->freed) {
        struct job *next = job->next;
        job->fn(job->arg, job->failed_errno);
        pool->under_way--;
        free(job);
        job = next;
    }
    if (!pool->freed)
        tell_when_idle(pool);
    pool->in_callback = false;
    free_jobs(job);
    if (pool->freed)
        free(pool);
}

struct syncpool *syncpool_new(struct event_base *base, struct error *err)
{
    struct syncpool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        (void)error_set(err, ERROR_TEMPORARY, "out of memory");
        return NULL;
    }
    pool->open_tail = &pool->open;
    pool->finished_tail = &pool->finished;
    (void)pthread_mutex_init(&pool->mutex, NULL);
    (void)pthread_cond_init(&pool->work, NULL);
    pool->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pool->wake = event_new(base, pool->wake_fd, EV_READ | EV_PERSIST, on_wake, pool);
    int failed =
        pool->wake_fd < 0 || pool->wake == NULL || event_add(pool->wake, NULL) < 0 ? errno : 0;
    while (failed == 0 && pool->thread_count < SYNCPOOL_THREADS) {
        failed = pthread_create(&pool->threads[pool->thread_count], NULL, work, pool);
        pool->thread_count += failed == 0;
    }
    if (failed == 0)
        return pool;
    errno = failed;
    (void)error_errno(err, "cannot start the sync threads");
    syncpool_free(pool);
    return NULL;
}

void syncpool_free(struct syncpool *pool)
{
    if (pool == NULL)
        return;
    (void)pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->thread_count; i++)
        (void)pthread_join(pool->threads[i], NULL);
    free_jobs(pool->open);
    free_jobs(pool->finished);
    if (pool->wake != NULL)
        event_free(pool->wake);
    if (pool->wake_fd >= 0)
        (void)close(pool->wake_fd);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->mutex);
    pool->freed = true;
    if (!pool->in_callback)
        free(pool);
}

void syncpool_run(struct syncpool *pool, const int *fds, size_t n, int last_fd, syncpool_fn *fn,
                  void *arg)
{
    struct job *job = calloc(1, sizeof *job + n * sizeof job->fds[0]);
    if (job == NULL)
        abort(); /* a few hundred bytes: the machine is beyond help */
    job->fn = fn;
    job->arg = arg;
    job->last_fd = last_fd;
    job->count = n;
    if (n > 0)
        memcpy(job->fds, fds, n * sizeof fds[0]);
    pool->under_way++;
    (void)pthread_mutex_lock(&pool->mutex);
    *pool->open_tail = job;
    pool->open_tail = &job->next;
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_mutex_unlock(&pool->mutex);
}

void syncpool_when_idle(struct syncpool *pool, void (*fn)(void *arg), void *arg)
{
    pool->idle = fn;
    pool->idle_arg = arg;
    tell_when_idle(pool);
}
