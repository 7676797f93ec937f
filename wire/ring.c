/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A ring's memory: made, checked, ended. ring_client.c and ring_server.c are its two sides.
 *
 * A call. Its thread takes a free slot (a private bitmap) and a ticket (a private counter), writes
 * the request into the slot, sets its state to POSTED and publishes (ticket, slot) in the entry
 * that the ticket selects. The dext takes entries in order, copies the request, and answers in the
 * slot. There are as many entries as slots: an entry is written anew only by a call that owns a
 * slot, so when the one before it has been taken. A caller whose time is over leaves its slot as it
 * is; the slot becomes free when the answer is there.
 *
 * The state of a slot:
 *
 *	UNUSED, ANSWERED, ABORTED ─ caller ─► POSTED ─ caller goes to sleep ─► AWAITED
 *	POSTED, AWAITED ─ dext ─► ANSWERED, STALE
 *	POSTED, AWAITED ─ whoever closes the ring ─► ABORTED
 *
 * All but the first are compare-and-swap, so an answer and an abort never both win. A slot whose
 * call has ended stays as it is: whose it is next, the caller's side knows alone.
 *
 * Why no wake-up is lost. Each pair below is a store followed by a load of the other's word, on
 * both sides, all four sequentially consistent: at least one side sees what the other stored.
 *
 *	the dext sleeps	      dext: server_sleeps = 1, look at the next entry
 *			      caller: publish the entry, look at server_sleeps, ring
 *	the reader sleeps     reader: client_sleeps = 1, look at the next event
 *			      dext: publish the event, look at client_sleeps, send a wake
 *	a call and the end    caller: state = POSTED, publish the entry, look at `closed`
 *			      closer: closed = 1, look at every entry, then at every state
 *	no slot is free	      caller: count itself as waiting, look for a free slot
 *			      caller that is done: free the slot, look at the count, wake
 *
 * One who looks before it sleeps (waiting.c) stores nothing and has no flag set: it only comes to
 * the store of its pair later, and whoever stores before that need not ring or wake. Where a side
 * runs and which policy it wishes are hints: nothing here depends on them but time.
 *
 * Which doorbell a caller rings is a matter of placement alone. All of them lead to the one queue
 * that takes this ring's calls, and the flag says whether that is idle; so whichever was rung, the
 * ring is looked at. A further worker's doorbell is announced after it is watched.
 *
 * Calls of one thread. ring_client_submit publishes and rings nobody; whoever flushes, calls or
 * waits later does, and by the first pair above the dext then sees all that was published
 * before. Many may sleep over one word: who waits for the first calls of a group sleeps over the
 * last one's, so that the dext is not interrupted by those it wakes, on one CPU, before it has
 * answered them all. Which call is in that slot by then only costs time, and that is bounded.
 * Hence a waker wakes everybody.
 *
 * Entries may be published out of order. The dext then finds the next one missing and sleeps again;
 * the missing one's publisher finds the flag set and rings. A caller sleeps on the state word
 * itself: it goes from POSTED to AWAITED before, so whoever ends the call sees that there is
 * someone to wake, and the kernel compares the word once more.
 *
 * A further dext. dextd raises the generation when the one before is dead, and then gives the
 * ring to the next, so dexts never serve it side by side. It goes on from `taken`, the count of
 * the calls that were taken. A slot that is posted with a ticket up to there was in the dead
 * one's hands: nobody else knows of it any more. (The ticket is stored before the state, so a
 * slot that is posted anew at that moment shows its new one.) It is replayed if its note names
 * the ticket, which the dead one stored there before the method ran, and took back before it
 * wrote the first word of the answer over the request. As process and memory are one machine,
 * what a dead process stored is there: only the compiler must keep the order. An answer whose
 * caller was not woken any more, and an event whose place was taken but which was not published,
 * are found in the same way.
 *
 * A doorbell of a dead dext is rung in vain. So a caller chooses one after it has cleared
 * server_sleeps: if the successor had set that, its generation is seen too, and if not, it has
 * yet to look at the ring. The first doorbell is dextd's, and all generations hear it.
 *
 * The end. Whoever closes the ring claims a notice, writes status and reason there, and only then
 * names it in `closed`: one who is killed in between has closed nothing, and disturbs no other.
 * `closed` is written once, so all see the same reason. Nobody waits for anybody here. A peer that
 * scribbled over the header before it died cannot keep its callers: the closer goes by the geometry
 * that ring_create gives, not by the header's.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/text.h>
#include <wire/futex.h>
#include <wire/ring_layout.h>

/* Whole lines. */
static size_t notes_size(uint32_t n_slots)
{
	return (n_slots * sizeof(struct ring_note) + 63) / 64 * 64;
}

static size_t ring_size(uint32_t n_slots, uint32_t n_events)
{
	size_t per_slot = sizeof(struct ring_entry) + sizeof(struct ring_slot) + RING_BLOCK;
	return RING_HEADER_SIZE + notes_size(n_slots) + n_slots * per_slot +
	       n_events * sizeof(struct ring_event_slot);
}

int ring_create(int *memory_fd)
{
	CLEANUP(close_fdp) int fd = memfd_create("dext-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)ring_size(RING_SLOTS, RING_EVENTS)) < 0)
		return -errno;
	struct ring_header *header =
		mmap(NULL, RING_HEADER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (header == MAP_FAILED)
		return -errno;
	atomic_init(&header->magic, RING_MAGIC);
	atomic_init(&header->major, RING_MAJOR);
	atomic_init(&header->minor, RING_MINOR);
	atomic_init(&header->slot_size, RING_SLOT_SIZE);
	atomic_init(&header->block_size, RING_BLOCK);
	atomic_init(&header->n_slots, RING_SLOTS);
	atomic_init(&header->n_events, RING_EVENTS);
	atomic_init(&header->generation, 1);
	munmap(header, RING_HEADER_SIZE);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*memory_fd = steal_fd(&fd);
	return 0;
}

/* --- the view --- */

static uint32_t load(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static bool is_count(uint32_t n)
{
	return n > 0 && n <= RING_COUNT_MAX && (n & (n - 1)) == 0;
}

/* Read the geometry, once. */
static int read_geometry(struct ring_view *view)
{
	const struct ring_header *header = view->header;
	if (load(&header->magic) != RING_MAGIC || load(&header->major) != RING_MAJOR)
		return -EBADMSG;
	if (load(&header->slot_size) != RING_SLOT_SIZE || load(&header->block_size) != RING_BLOCK)
		return -EBADMSG;
	view->n_slots = load(&header->n_slots);
	view->n_events = load(&header->n_events);
	if (!is_count(view->n_slots) || !is_count(view->n_events))
		return -EBADMSG;
	return view->size == ring_size(view->n_slots, view->n_events) ? 0 : -EBADMSG;
}

static void lay_out(struct ring_view *view)
{
	uint8_t *at = (uint8_t *)view->header + RING_HEADER_SIZE;
	view->notes = (struct ring_note *)(void *)at;
	at += notes_size(view->n_slots);
	view->entries = (struct ring_entry *)(void *)at;
	at += view->n_slots * sizeof(struct ring_entry);
	view->slots = (struct ring_slot *)(void *)at;
	at += view->n_slots * sizeof(struct ring_slot);
	view->events = (struct ring_event_slot *)(void *)at;
	at += view->n_events * sizeof(struct ring_event_slot);
	view->arena = (_Atomic uint64_t *)(void *)at;
}

/* How large is it, and can it shrink? */
static int check_memory(int memory_fd, size_t *size)
{
	struct stat st;
	if (fstat(memory_fd, &st) < 0)
		return -errno;
	int seals = fcntl(memory_fd, F_GET_SEALS);
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
		return -EBADMSG;
	if (st.st_size < (off_t)ring_size(1, 1) ||
	    st.st_size > (off_t)ring_size(RING_COUNT_MAX, RING_COUNT_MAX))
		return -EBADMSG;
	*size = (size_t)st.st_size;
	return 0;
}

static int map_memory(struct ring_view *view, int memory_fd)
{
	int ret = check_memory(memory_fd, &view->size);
	if (ret == 0)
		ret = fault_handler_install();
	if (ret < 0)
		return ret;
	void *memory = mmap(NULL, view->size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	view->guard.address = memory;
	view->guard.length = view->size;
	ret = fault_guard_add(&view->guard);
	if (ret < 0)
		munmap(memory, view->size);
	else
		view->header = memory;
	return ret;
}

int ring_view_init(struct ring_view *view, int memory_fd)
{
	*view = (struct ring_view){ 0 };
	int ret = map_memory(view, memory_fd);
	if (ret < 0)
		return ret;
	ret = read_geometry(view);
	if (ret < 0)
		ring_view_deinit(view);
	else
		lay_out(view);
	return ret;
}

/* As ring_view_init, but a ring of the size that is made here needs no valid header. */
static int view_init_known(struct ring_view *view, int memory_fd)
{
	*view = (struct ring_view){ 0 };
	int ret = map_memory(view, memory_fd);
	if (ret < 0)
		return ret;
	if (view->size != ring_size(RING_SLOTS, RING_EVENTS)) {
		ring_view_deinit(view);
		return -EBADMSG;
	}
	view->n_slots = RING_SLOTS;
	view->n_events = RING_EVENTS;
	lay_out(view);
	return 0;
}

void ring_view_deinit(struct ring_view *view)
{
	if (view->header == NULL)
		return;
	fault_guard_remove(&view->guard);
	munmap(view->header, view->size);
	view->header = NULL;
}

bool ring_view_closed(const struct ring_view *view, struct ring_reply *reply)
{
	uint32_t closed = atomic_load(&view->header->closed);
	if (closed == 0)
		return false;
	reply->status = kIOReturnAborted;
	reply->n_scalars = 0;
	reply->structure_size = 0;
	reply->generation = load(&view->header->generation);
	reply->reason[0] = '\0';
	if (closed > RING_NOTICES)
		return true;
	const struct ring_notice *notice = &view->header->notices[closed - 1];
	IOReturn status = (IOReturn)load(&notice->status);
	if (status != kIOReturnSuccess)
		reply->status = status;
	ring_load(reply->reason, notice->text, RING_NOTICE_TEXT);
	reply->reason[RING_NOTICE_TEXT - 1] = '\0';
	return true;
}

/* --- the end --- */

/* As much of it as there is room for. */
static void store_text(_Atomic uint64_t *to, const char *reason)
{
	char text[RING_NOTICE_TEXT] = "";
	if (snprintf(text, sizeof(text), "%s", reason) >= (int)sizeof(text))
		text_cut(text, sizeof(text));
	ring_store(to, text, sizeof(text));
}

static void close_ring(struct ring_header *header, IOReturn status, const char *reason)
{
	uint32_t index = atomic_fetch_add(&header->n_notices, 1);
	uint32_t none = 0;
	if (index >= RING_NOTICES) { // as often as this only a corrupt peer closes: without a text
		atomic_compare_exchange_strong(&header->closed, &none, RING_NOTICES + 1);
		return;
	}
	atomic_store_explicit(&header->notices[index].status, (uint32_t)status,
			      memory_order_relaxed);
	store_text(header->notices[index].text, reason);
	atomic_compare_exchange_strong(&header->closed, &none, index + 1);
}

/* So that a call whose caller looked at `closed` too early is seen to be posted. */
static void see_entries(const struct ring_view *view)
{
	for (uint32_t i = 0; i < view->n_slots; i++)
		(void)atomic_load(&view->entries[i].ticket);
}

static void end_call(struct ring_slot *slot)
{
	if (ring_slot_end(slot, RING_ABORTED) == RING_AWAITED)
		futex_wake(&slot->state, INT_MAX, FUTEX_SHARED);
}

void ring_view_abort(const struct ring_view *view, IOReturn status, const char *reason)
{
	close_ring(view->header, status, reason);
	see_entries(view);
	for (uint32_t i = 0; i < view->n_slots; i++)
		end_call(&view->slots[i]);
}

int ring_abort(int memory_fd, IOReturn status, const char *reason)
{
	struct ring_view view;
	int ret = view_init_known(&view, memory_fd);
	if (ret < 0)
		return ret;
	ring_view_abort(&view, status, reason);
	ring_view_deinit(&view);
	return 0;
}

int ring_raise_generation(int memory_fd, uint32_t generation, const char *reason)
{
	struct ring_view view;
	int ret = view_init_known(&view, memory_fd);
	if (ret < 0)
		return ret;
	store_text(view.header->obituary, reason);
	atomic_store(&view.header->generation, generation);
	ring_view_deinit(&view);
	return 0;
}
