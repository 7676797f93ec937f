#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every #include of the project keeps scripts/include-table.
set -eu
cd "$(dirname "$0")/../.."

# A project's header is named <folder/file.h>; quotes are for drivers and tests, beside their own.
scripts/sources c | xargs grep -nE '^[[:space:]]*#[[:space:]]*include' /dev/null | awk -v table=scripts/include-table '
	BEGIN {
		while ((getline row < table) > 0) {
			n = split(row, word, " ")
			if (n == 0 || word[1] ~ /^#/)
				continue
			if (word[2] == "may") {
				known[word[1]] = 1
				for (i = 4; i <= n; i++)
					may[word[1], word[i]] = 1
			} else if (word[2] == "belongs") {
				owner[word[1]] = word[4]
			} else if (word[2] == "only") {
				library[word[1]] = 1
				for (i = 4; i <= n; i++)
					only[word[1], word[i]] = 1
			} else {
				complain(table ": cannot read: " row)
			}
		}
	}

	function complain(text)
	{
		print text
		bad = 1
	}

	# The key of `keys` that `path` is, or that is the longest folder it lies in.
	function find(keys, path)
	{
		if (path in keys)
			return path
		while (sub("/?[^/]*$", "", path) && path != "") {
			if (path in keys)
				return path
			if ((path "/") in keys)
				return path "/"
		}
		return ""
	}

	{
		split($0, part, ":")
		file = part[1]
		where = file ":" part[2]
		header = $0
		if (match(header, /<[^>]*>/) == 0) {
			if (file !~ /^(drivers|tests|bench)\//)
				complain(where ": include project headers as <folder/file.h>")
			next
		}
		header = substr(header, RSTART + 1, RLENGTH - 2)
		folder = file
		if (sub("^include/", "", folder)) {
			if ((folder = find(owner, folder)) == "")
				complain(where ": " file " belongs to no folder in " table)
			folder = owner[folder]
		} else if ((folder = find(known, file)) == "") {
			complain(where ": " file " is in no folder of " table)
			next
		}

		if ((lib = find(library, header)) != "") {
			if (!((lib, folder) in only) && !((folder, "anything") in may))
				complain(where ": " folder " may not include <" header ">")
			next
		}
		public = find(owner, header)
		target = public != "" ? owner[public] : find(known, header)
		if (target == "" || target == folder || index(target, folder "/") == 1)
			next
		if ((folder, target) in may || (folder, header) in may || (folder, "anything") in may)
			next
		if (public != "" && (folder, "public") in may)
			next
		complain(where ": " folder " may not include <" header "> of " target)
	}

	END { exit bad }
'
