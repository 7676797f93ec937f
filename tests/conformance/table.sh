#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# README.md beside this script is a table of what DriverKit's interface promises: each row names a
# test that is there and runs, or says that there is none, and why; every test here has its row.
set -eu
cd "$(dirname "$0")/../.."
known=$(mktemp)
trap 'rm -f "$known"' EXIT

# FILE:NAME of each Check test that is both written and added to its suite.
# shellcheck disable=SC2016 # awk's own
find . -name '*_test.c' -not -path './build*' | sed 's|^\./||' | xargs awk '
	match($0, /^START_TEST\([A-Za-z0-9_]+\)/) {
		written[FILENAME ":" substr($0, 12, RLENGTH - 12)] = 1
		next
	}
	{
		line = $0
		while (match(line, /[A-Za-z_][A-Za-z0-9_]*/)) {
			used[FILENAME ":" substr(line, RSTART, RLENGTH)] = 1
			line = substr(line, RSTART + RLENGTH)
		}
	}
	END {
		for (test in written)
			if (test in used)
				print test
	}
' >"$known"

# shellcheck disable=SC2016
awk -v sections="1.1 1.2 1.3 1.4 1.5 1.6 2.1 2.2 2.3 2.4 3.1 3.2 4.1 4.2 4.3 5.1 5.2 5.3 5.4 5.5 5.6 6.1 6.2 6.3 6.4 6.5 7 12" '
	function complain(text)
	{
		print "tests/conformance/README.md:" FNR ": " text
		bad = 1
	}

	function trim(text)
	{
		gsub(/^[ \t]+|[ \t]+$/, "", text)
		return text
	}

	function is_file(name,    line, result)
	{
		result = (getline line < name)
		close(name)
		return result > 0
	}

	# How many names stand in backquotes; each is a test that runs, or, if they may be named, a file
	# that is there.
	function check_names(cell, files,    name, named)
	{
		while (match(cell, /`[^`]+`/)) {
			name = substr(cell, RSTART + 1, RLENGTH - 2)
			cell = substr(cell, RSTART + RLENGTH)
			named++
			if (name in known)
				seen[name] = 1
			else if (name ~ /_test\.c:/ || (files && !is_file(name)))
				complain("there is no " name)
		}
		return named
	}

	FNR == NR { known[$0] = 1; next }
	/^### / { section = $2; next }
	!/^\|/ || /^\| ---/ || /^\| row \|/ { next }
	{
		n_cells = split($0, cell, "|")
		what = trim(cell[2])
		shown = trim(cell[3])
		differs = trim(cell[4])
		rows[section]++
		if (n_cells != 5)
			complain("a row has three cells")
		else if (what == "" || shown == "")
			complain("a row without an entry")
		else if (shown == "missing" || shown == "no meaning here")
			count[shown]++
		else
			count["shown"]++
		if ((shown == "missing" || shown == "no meaning here") && differs == "")
			complain("say why: " what)
		if (shown != "missing" && shown != "no meaning here" && check_names(shown, 1) == 0)
			complain("a row names its test as `folder/file.c:name`: " what)
		check_names(differs, 0)
	}

	END {
		n = split(sections, wanted, " ")
		for (i = 1; i <= n; i++)
			if (!(wanted[i] in rows))
				complain("section " wanted[i] " has no rows")
		for (name in known)
			if (name ~ /^tests\/conformance\// && !(name in seen))
				complain(name " has no row")
		printf "%d rows are shown by tests, %d are missing, %d have no meaning here\n",
			count["shown"], count["missing"], count["no meaning here"]
		exit bad
	}
' "$known" tests/conformance/README.md
