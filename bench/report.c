// SPDX-License-Identifier: Apache-2.0
/* The table for people, and one line of JSON for programs, which is the last line. */

#include <stdlib.h>

#include <bench/measure.h>

const char *bench_pin_name(enum bench_pin pin)
{
	static const char *const names[BENCH_PINS] = { "one", "two", "free", "paced" };
	return names[pin];
}

static const char *time_text(double ns, char *room, size_t size)
{
	if (ns < 1e3)
		snprintf(room, size, "%.1f ns", ns);
	else if (ns < 1e6)
		snprintf(room, size, "%.2f us", ns / 1e3);
	else
		snprintf(room, size, "%.2f ms", ns / 1e6);
	return room;
}

static void print_target(double limit_ns, double ns)
{
	char limit[32];
	if (limit_ns > 0)
		printf("  at most %s %s", time_text(limit_ns, limit, sizeof(limit)),
		       ns <= limit_ns ? "held" : "MISSED");
}

static void print_rows(const struct bench *b)
{
	printf("%-24s %-6s %12s %12s %14s\n", b->name, "pin", "p50", "p99", "per second");
	for (unsigned i = 0; i < b->n_cells; i++) {
		const struct bench_cell *cell = &b->cells[i];
		char p50[32], p99[32];
		if (!cell->measured)
			continue;
		printf("%-24s %-6s %12s %12s %14.0f", cell->name, bench_pin_name(cell->pin),
		       time_text(bench_value(b, cell, BENCH_P50), p50, sizeof(p50)),
		       time_text(bench_value(b, cell, BENCH_P99), p99, sizeof(p99)),
		       1e9 / bench_value(b, cell, BENCH_TIME_PER_OP));
		print_target(cell->limit_ns, bench_value(b, cell, BENCH_P50));
		putchar('\n');
	}
}

static const char *ratio_name(const struct bench_ratio *ratio, char *room, size_t size)
{
	static const char *const suffixes[BENCH_METRICS] = { "", ".p99", "", ".cpu" };
	const char *suffix = suffixes[ratio->metric];
	if (ratio->name != NULL)
		return ratio->name;
	snprintf(room, size, "%s%s/%s%s", ratio->a, suffix, ratio->b, suffix);
	return room;
}

static void print_ratio_target(const struct bench_ratio *ratio, double median)
{
	if (ratio->limit > 0)
		printf("  at most %-6.4g %s", ratio->limit,
		       median <= ratio->limit ? "held" : "MISSED");
	if (ratio->at_least > 0)
		printf("  at least %-5.4g %s", ratio->at_least,
		       median >= ratio->at_least ? "held" : "MISSED");
}

static void print_ratios(const struct bench *b)
{
	printf("\n%-36s %-6s %10s %10s %10s  target\n", "ratio", "pin", "median", "lowest",
	       "highest");
	for (unsigned i = 0; i < b->n_ratios; i++) {
		const struct bench_ratio *ratio = &b->ratios[i];
		struct bench_spread spread;
		char name[128];
		if (!bench_ratio_spread(b, ratio, &spread))
			continue;
		printf("%-36s %-6s %10.4g %10.4g %10.4g", ratio_name(ratio, name, sizeof(name)),
		       bench_pin_name(ratio->pin_a), spread.median, spread.lo, spread.hi);
		print_ratio_target(ratio, spread.median);
		putchar('\n');
	}
}

static void print_facts(const struct bench *b)
{
	if (b->n_facts > 0)
		putchar('\n');
	for (unsigned i = 0; i < b->n_facts; i++) {
		const struct bench_fact *fact = &b->facts[i];
		printf("%-36s %10.4g %-8s", fact->name, fact->value, fact->unit);
		if (fact->limit >= 0)
			printf("  at most %-6.4g %s", fact->limit,
			       fact->value <= fact->limit ? "held" : "MISSED");
		putchar('\n');
	}
}

static void print_json_facts(const struct bench *b)
{
	if (b->n_facts == 0)
		return;
	printf(",\"facts\":[");
	for (unsigned i = 0; i < b->n_facts; i++)
		printf("%s{\"name\":\"%s\",\"unit\":\"%s\",\"value\":%.5g}", i > 0 ? "," : "",
		       b->facts[i].name, b->facts[i].unit, b->facts[i].value);
	printf("]");
}

static void print_json(const struct bench *b)
{
	const char *comma = "";
	printf("{\"bench\":\"%s\",\"rows\":[", b->name);
	for (unsigned i = 0; i < b->n_cells; i++) {
		const struct bench_cell *cell = &b->cells[i];
		if (!cell->measured)
			continue;
		printf("%s{\"case\":\"%s\",\"pin\":\"%s\",\"p50_ns\":%.1f,\"p99_ns\":%.1f,"
		       "\"per_s\":%.1f}",
		       comma, cell->name, bench_pin_name(cell->pin),
		       bench_value(b, cell, BENCH_P50), bench_value(b, cell, BENCH_P99),
		       1e9 / bench_value(b, cell, BENCH_TIME_PER_OP));
		comma = ",";
	}
	printf("],\"ratios\":[");
	comma = "";
	for (unsigned i = 0; i < b->n_ratios; i++) {
		const struct bench_ratio *ratio = &b->ratios[i];
		struct bench_spread spread;
		char name[128];
		if (!bench_ratio_spread(b, ratio, &spread))
			continue;
		printf("%s{\"name\":\"%s\",\"pin\":\"%s\",\"median\":%.5g,\"lo\":%.5g,\"hi\":%.5g}",
		       comma, ratio_name(ratio, name, sizeof(name)), bench_pin_name(ratio->pin_a),
		       spread.median, spread.lo, spread.hi);
		comma = ",";
	}
	printf("]");
	print_json_facts(b);
	printf("}\n");
}

int bench_report(const struct bench *b)
{
	print_rows(b);
	print_ratios(b);
	print_facts(b);
	if (b->json)
		print_json(b);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
