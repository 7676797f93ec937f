/* SPDX-License-Identifier: Apache-2.0 */

#include <wire/outbox.h>

#include <errno.h>
#include <stddef.h>

void outbox_init(struct outbox *outbox)
{
	outbox->first = NULL;
	outbox->end = &outbox->first;
	outbox->n_packets = 0;
}

void outbox_deinit(struct outbox *outbox)
{
	while (outbox->first != NULL)
		outbox->first = packet_free(outbox->first);
	outbox_init(outbox);
}

static bool is_gone(int error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

int outbox_send(struct outbox *outbox, int fd, const struct frame *frame, unsigned room)
{
	int ret = outbox->first == NULL ? frame_send(fd, frame) : -EAGAIN;

	if (is_gone(ret))
		return 0;
	if (ret != -EAGAIN)
		return ret;
	if (outbox->n_packets >= room)
		return -ENOBUFS;
	ret = packet_new(outbox->end, frame);
	if (ret < 0)
		return ret;
	outbox->end = &(*outbox->end)->next;
	outbox->n_packets++;
	return 0;
}

int outbox_flush(struct outbox *outbox, int fd)
{
	while (outbox->first != NULL) {
		int ret = packet_send(fd, outbox->first);

		if (ret == -EAGAIN)
			return 0;
		if (ret < 0 && !is_gone(ret))
			return ret;
		outbox->first = packet_free(outbox->first);
		outbox->n_packets--;
	}
	outbox->end = &outbox->first;
	return 0;
}
