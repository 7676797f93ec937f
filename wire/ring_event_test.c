/* SPDX-License-Identifier: Apache-2.0 */

/* The events of a ring, and who is woken for them. */

#include <errno.h>

#include <wire/ring_pair.h>

START_TEST(events_arrive_in_order)
{
	struct pair p;
	struct ring_event event = { 0 };
	pair_init(&p);
	for (uint64_t i = 0; i < 10 * RING_EVENTS; i++) {
		event = (struct ring_event){ .async = i, .status = (IOReturn)i };
		event.n_scalars = (uint32_t)i % (RING_SCALARS + 1);
		for (uint32_t k = 0; k < event.n_scalars; k++)
			event.scalars[k] = i * 100 + k;
		ck_assert_int_eq(ring_server_event(p.server, &event), 0);
		if (i % 3 == 0)
			continue;
		for (uint64_t j = i % 3 == 1 ? i - 1 : i; j <= i; j++) {
			ck_assert_int_eq(ring_client_next_event(p.client, &event), 1);
			ck_assert_uint_eq(event.async, j);
			ck_assert_int_eq(event.status, (IOReturn)j);
			ck_assert_uint_eq(event.n_scalars, j % (RING_SCALARS + 1));
			for (uint32_t k = 0; k < event.n_scalars; k++)
				ck_assert_uint_eq(event.scalars[k], j * 100 + k);
		}
	}
	event.n_scalars = RING_SCALARS + 1;
	ck_assert_int_eq(ring_server_event(p.server, &event), -EINVAL);
	pair_deinit(&p);
}
END_TEST

START_TEST(events_are_looked_at_before_they_are_taken)
{
	struct pair p;
	struct ring_event event = { 0 };
	pair_init(&p);
	for (uint64_t first = 0; first < 3 * RING_EVENTS; first += RING_EVENTS - 1) {
		for (uint64_t i = 0; i < RING_EVENTS; i++) {
			event.async = first + i;
			if (i > 0 || first == 0)
				ck_assert_int_eq(ring_server_event(p.server, &event), 0);
		}
		for (uint32_t i = 0; i < RING_EVENTS; i++) {
			ck_assert_int_eq(ring_client_look_event(p.client, i, &event), 1);
			ck_assert_uint_eq(event.async, first + i);
		}
		ck_assert_int_eq(ring_client_look_event(p.client, RING_EVENTS, &event), 0);
		ck_assert_int_eq(ring_server_event(p.server, &event),
				 -ENOSPC); // all are there still
		ring_client_take_events(p.client, RING_EVENTS - 1);
		ck_assert_int_eq(ring_client_look_event(p.client, 0, &event), 1);
		ck_assert_uint_eq(event.async, first + RING_EVENTS - 1);
		ck_assert_int_eq(ring_client_look_event(p.client, 1, &event), 0);
	}
	pair_deinit(&p);
}
END_TEST

START_TEST(a_reader_that_does_not_read_is_told)
{
	struct pair p;
	struct ring_event event = { .async = 1 };
	pair_init(&p);
	for (uint32_t i = 0; i < RING_EVENTS; i++) {
		ck_assert(ring_server_event_fits(p.server, RING_EVENTS - i - 1));
		ck_assert(!ring_server_event_fits(p.server, RING_EVENTS - i));
		ck_assert_int_eq(ring_server_event(p.server, &event), 0);
	}
	ck_assert_int_eq(ring_server_event(p.server, &event), -ENOSPC);
	ck_assert(!ring_server_event_fits(p.server, 0));
	ck_assert_int_eq(ring_client_next_event(p.client, &event), 1);
	ck_assert(!ring_server_event_fits(p.server, 1));
	ck_assert_int_eq(ring_server_event(p.server, &event), 0);
	ck_assert_int_eq(ring_server_event(p.server, &event), -ENOSPC);
	pair_deinit(&p);
}
END_TEST

START_TEST(only_a_sleeping_reader_is_woken)
{
	struct pair p;
	struct ring_event event = { .async = 1 };
	pair_init(&p);
	ck_assert(ring_client_event_sleep(p.client));
	ck_assert_int_eq(ring_server_event(p.server, &event), 1);
	ck_assert_int_eq(ring_server_event(p.server, &event), 0);
	ck_assert(!ring_client_event_sleep(p.client)); // one waits
	ck_assert_int_eq(ring_client_next_event(p.client, &event), 1);
	ck_assert_int_eq(ring_client_next_event(p.client, &event), 1);
	ck_assert_int_eq(ring_client_next_event(p.client, &event), 0);
	ck_assert(ring_client_event_sleep(p.client));
	pair_deinit(&p);
}
END_TEST

START_TEST(a_burst_costs_one_wake)
{
	struct pair p;
	struct ring_event event = { .async = 1 };
	int n_wakes = 0;
	pair_init(&p);
	ck_assert(ring_client_event_sleep(p.client));
	for (uint32_t i = 0; i < RING_EVENTS; i++)
		n_wakes += ring_server_event(p.server, &event);
	ck_assert_int_eq(n_wakes, 1);
	pair_deinit(&p);
}
END_TEST

UNIT_TESTS("ring events", events_arrive_in_order, events_are_looked_at_before_they_are_taken,
	   a_reader_that_does_not_read_is_told, only_a_sleeping_reader_is_woken,
	   a_burst_costs_one_wake)
