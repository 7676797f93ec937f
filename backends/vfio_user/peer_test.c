/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Waiting for a device must not hold up the rest of the dext: here the device answers from work of
 * another queue, which runs only if the wait gives the event loop to another thread.
 */

#include <sys/socket.h>
#include <unistd.h>

#include <backends/vfio_user/peer.h>
#include <base/list.h>
#include <runtime/unit_pool.h>

struct rig {
	struct queue_item ask, answer;
	IODispatchQueue *device, *other;
	struct peer peer;
	int card; // the device's end
	int result;
};

static void answer(struct queue_item *item)
{
	struct rig *rig = container_of(item, struct rig, answer);
	struct vfio_user_header header;
	ck_assert_int_eq(recv(rig->card, &header, sizeof(header), 0), sizeof(header));
	header.flags = VFIO_USER_TYPE_REPLY;
	ck_assert_int_eq(send(rig->card, &header, sizeof(header), 0), sizeof(header));
}

static void ask(struct queue_item *item)
{
	struct rig *rig = container_of(item, struct rig, ask);
	const struct peer_payload nothing = { 0 };
	struct peer_message reply = { 0 };
	ck_assert(queue_post(rig->other, &rig->answer));
	rig->result = peer_call(&rig->peer, VFIO_USER_DEVICE_RESET, &nothing, &reply);
	if (rig->result == 0)
		peer_message_deinit(&reply);
	worker_stop();
}

START_TEST(other_queues_go_on_while_a_device_is_waited_for)
{
	int ends[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	struct rig rig = {
		.ask.run = ask,
		.answer.run = answer,
		.device = new_queue("device"),
		.other = new_queue("other"),
		.card = ends[1],
	};
	peer_init(&rig.peer, ends[0]);
	ck_assert(queue_post(rig.device, &rig.ask));
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_msg(rig.result == 0, "%d: %s", rig.result, rig.peer.reason);
	peer_deinit(&rig.peer);
	close(rig.card);
	OSSafeReleaseNULL(rig.device);
	OSSafeReleaseNULL(rig.other);
}
END_TEST

POOL_TESTS("vfio-user-peer", other_queues_go_on_while_a_device_is_waited_for)
