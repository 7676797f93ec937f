// SPDX-License-Identifier: Apache-2.0
/* Medians of rounds, and ratios within them. */

#include <stdlib.h>
#include <string.h>

#include <bench/measure.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double bench_median(const double *values, unsigned n)
{
	double sorted[BENCH_ROUNDS_MAX];
	memcpy(sorted, values, n * sizeof(*values));
	qsort(sorted, n, sizeof(*sorted), by_value);
	return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double bench_value(const struct bench *b, const struct bench_cell *cell, enum bench_metric metric)
{
	return bench_median(cell->values[metric], b->n_rounds);
}

const struct bench_cell *bench_find(const struct bench *b, const char *name, enum bench_pin pin)
{
	for (unsigned i = 0; i < b->n_cells; i++)
		if (b->cells[i].pin == pin && strcmp(b->cells[i].name, name) == 0)
			return &b->cells[i];
	return NULL;
}

bool bench_ratio_spread(const struct bench *b, const struct bench_ratio *ratio,
			struct bench_spread *spread)
{
	const struct bench_cell *top = bench_find(b, ratio->a, ratio->pin_a);
	const struct bench_cell *bottom = bench_find(b, ratio->b, ratio->pin_b);
	double values[BENCH_ROUNDS_MAX];
	if (top == NULL || bottom == NULL || !top->measured || !bottom->measured)
		return false;
	for (unsigned i = 0; i < b->n_rounds; i++) {
		double divisor = bottom->values[ratio->metric][i];
		if (divisor <= 0)
			return false;
		values[i] = top->values[ratio->metric][i] / divisor;
	}
	*spread = (struct bench_spread){ bench_median(values, b->n_rounds), values[0], values[0] };
	for (unsigned i = 1; i < b->n_rounds; i++) {
		spread->lo = values[i] < spread->lo ? values[i] : spread->lo;
		spread->hi = values[i] > spread->hi ? values[i] : spread->hi;
	}
	return true;
}
