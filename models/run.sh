#!/usr/bin/env bash
# Runs the Promela models with Spin: every correct configuration must pass, every faulty variant must be caught by an
# assertion, every reachability probe must be reached. See README.md beside this file.
set -u

usage() {
	cat <<'EOF'
usage: models/run.sh [-j JOBS] [-w] [small|full] [WORD]

  small    the small configurations and all variants (default, as in CI)
  full     these and the big configurations (minutes, up to 4 GB each)
  WORD     only the cases whose line contains WORD, such as cancel.pml or BYSTANDER
  -j JOBS  searches at once (default 2)
  -w       also writes the rows into the table of README.md; a row of a case that was not run stays, one of a case
           that is no more goes

Prints a Markdown table. Exit codes: 0 all as expected, 1 some were not, 2 could not run.
EOF
}

# size expectation model options...
#   pass   no errors, and the search was complete
#   fail   a faulty variant: an assertion must be violated
#   reach  a probe or a documented anomaly: must be found, as a violation of the assertion on `probe` and of no other
# LTL among the options checks the formula of -DWITHLTL instead of the assertions: a cycle is the violation.
cases() {
	cat <<'EOF'
small pass commit.pml -DNC=1
small pass commit.pml -DNC=2
small pass commit.pml -DNC=2 -DWITHLTL LTL
small pass commit.pml -DNC=2 -DHORIZON
small pass commit.pml -DNC=1 -DNT=2
small pass commit.pml -DNC=1 -DNT=2 -DSAME
small pass commit.pml -DNC=1 -DCONCRETE -DNR=0
small pass commit.pml -DNC=2 -DBYSTANDER
small pass commit.pml -DNC=2 -DBYSTANDER -DHORIZON
full  pass commit.pml -DNC=2 -DNS=3
full  pass commit.pml -DNC=1 -DCONCRETE -DNR=1
full  pass commit.pml -DNC=1 -DCONCRETE -DNR=0 -DBYSTANDER
full  pass commit.pml -DNC=1 -DCONCRETE -DNR=1 -DBYSTANDER
full  pass commit.pml -DNC=1 -DNT=2 -DBYSTANDER
small fail commit.pml -DNC=2 -DBUG_NOTOMB
small fail commit.pml -DNC=2 -DBUG_UNILATERAL
small fail commit.pml -DNC=2 -DBUG_EARLYACK
small fail commit.pml -DNC=2 -DBUG_FORGETC
small fail commit.pml -DNC=1 -DCONCRETE -DBUG_CANCELP
small fail commit.pml -DNC=1 -DNT=2 -DSAME -DBUG_NOESCROW
small fail commit.pml -DNC=2 -DHORIZON -DBUG_FORGETA
small fail commit.pml -DNC=2 -DBUG_NORESOLVE
small fail commit.pml -DNC=2 -DBUG_NORESOLVE -DWITHLTL LTL
small fail commit.pml -DNC=2 -DBYSTANDER -DBUG_BYSTANDERP
small fail commit.pml -DNC=2 -DBYSTANDER -DBUG_BYSTANDERC
small fail commit.pml -DNC=1 -DCONCRETE -DBYSTANDER -DBUG_BYSTANDERP
small fail commit.pml -DNC=1 -DCONCRETE -DBYSTANDER -DBUG_BYSTANDERC
small reach commit.pml -DNC=2 -DREACH1
small reach commit.pml -DNC=2 -DREACH2
small reach commit.pml -DNC=2 -DREACH3
small reach commit.pml -DNC=2 -DREACH4
small reach commit.pml -DNC=1 -DNT=2 -DSAME -DREACH5
small reach commit.pml -DNC=2 -DREACH6
small reach commit.pml -DNC=2 -DBYSTANDER -DREACH7
small reach commit.pml -DNC=2 -DBYSTANDER -DREACH8
small pass cancel.pml -DPATIENT
small pass cancel.pml -DPATIENT -DSAMEP
full  pass cancel.pml
full  pass cancel.pml -DSAMEP
full  pass cancel.pml -DDISJOINT
full  pass cancel.pml -DPATIENT -DSAMEP -DNCAN=2
small fail cancel.pml -DPATIENT -DBUG_SOMESHARDS
small fail cancel.pml -DPATIENT -DBUG_STATUSONLY
small fail cancel.pml -DPATIENT -DBUG_ANYTOMB
small fail cancel.pml -DPATIENT -DBUG_OVERVOTE
small fail cancel.pml -DPATIENT -DBUG_WILDMISS
small fail cancel.pml -DPATIENT -DBUG_BYSTANDER
small reach cancel.pml -DPATIENT -DREACH1
small reach cancel.pml -DPATIENT -DREACH2
small reach cancel.pml -DPATIENT -DREACH3
small reach cancel.pml -DPATIENT -DREACH4
small reach cancel.pml -DPATIENT -DREACH5
full  reach cancel.pml -DPATIENT -DDISJOINT -DREACH6
small pass cancel.pml -DPATIENT -DSAMEP -DRESOLVE
full  pass cancel.pml -DPATIENT -DRESOLVE
full  pass cancel.pml -DPATIENT -DSAMEP -DRESOLVE -DSTRAY
small fail cancel.pml -DPATIENT -DRESOLVE -DBUG_ANYTOMB
small fail cancel.pml -DPATIENT -DRESOLVE -DBUG_SOMESHARDS
small fail cancel.pml -DPATIENT -DSAMEP -DRESOLVE -DBUG_SOMESHARDS
small reach cancel.pml -DPATIENT -DRESOLVE -DREACH8
small reach cancel.pml -DPATIENT -DSAMEP -DRESOLVE -DREACH7
small pass read.pml -DNT=1 -DNRD=2
small pass read.pml -DNT=2 -DNRD=1
small pass read.pml -DNT=2 -DNRD=2 -DINTRA
small pass read.pml -DNT=2 -DNRD=2 -DONESHARD
small pass read.pml -DNT=2 -DNRD=3 -DINTRA -DONESHARD
full  pass read.pml -DNT=2 -DNRD=2
small fail read.pml -DNT=2 -DNRD=2 -DINTRA -DBUG_POSTED
small fail read.pml -DNT=1 -DNRD=1 -DBUG_STALE
small fail read.pml -DNT=2 -DNRD=2 -DONESHARD -DBUG_FIRSTRULE
small fail read.pml -DNT=2 -DNRD=2 -DINTRA -DBUG_CURRENT
small fail read.pml -DNT=2 -DNRD=2 -DBUG_CURRENT
small fail read.pml -DNT=2 -DNRD=2 -DINTRA -DONESHARD -DBUG_LATER
small fail read.pml -DNT=2 -DNRD=2 -DINTRA -DONESHARD -DBUG_OWNASK
small fail read.pml -DNT=2 -DNRD=2 -DINTRA -DBUG_EARLYASK
small reach read.pml -DNT=2 -DNRD=2 -DINTRA -DONESHARD -DREACH1
small reach read.pml -DNT=2 -DNRD=2 -DINTRA -DONESHARD -DREACH2
small reach fork.pml
small pass refuse.pml
small fail refuse.pml -DBUG_NOSETTLE
small fail refuse.pml -DBUG_PRECHECK
small pass refuse_debit.pml -DFIXED
small fail refuse_debit.pml
small pass justify.pml
small fail justify.pml -DBUG_ONCE
small fail justify.pml -DBUG_ONLYNEW
small fail justify.pml -DBUG_CREDITS
small fail justify.pml -DBUG_NOSETTLE
small reach justify.pml -DREACH1
small reach justify.pml -DREACH2
small reach justify.pml -DREACH3
small pass audit.pml
small pass audit.pml -DFOLLOWER -DNOX
small pass audit.pml -DFOLLOWER -DNOY
small pass audit.pml -DFOLLOWER -DNOW
full  pass audit.pml -DFOLLOWER
small fail audit.pml -DBUG_NOHOLD
small fail audit.pml -DBUG_IGNOREVOID
small fail audit.pml -DBUG_LOCALCUT
small fail audit.pml -DBUG_READLEAK
small fail audit.pml -DBUG_INQLEAK
small fail audit.pml -DFOLLOWER -DNOW -DBUG_FOLLOWER
small fail audit.pml -DFOLLOWER -DNOY -DBUG_FOLLOWER
small fail audit.pml -DFOLLOWER -DNOW -DBUG_FOLLOWERPATIENCE
small fail audit.pml -DFOLLOWER -DNOY -DBUG_FOLLOWERPATIENCE
small reach audit.pml -DREACH1
small reach audit.pml -DREACH2
small reach audit.pml -DFOLLOWER -DNOX -DREACH3
small pass audit_total.pml -DNT=1 -DNA=2
small pass audit_total.pml -DNT=1 -DNA=2 -DNOADVANCE
small pass audit_total.pml -DNT=2 -DNA=1 -DLOCAL
full  pass audit_total.pml -DNT=2 -DNA=1
small fail audit_total.pml -DNT=2 -DNA=1 -DLOCAL -DBUG_NOHOLD
small fail audit_total.pml -DNT=2 -DNA=1 -DLOCAL -DBUG_VOLATILE
small fail audit_total.pml -DNT=2 -DNA=1 -DLOCAL -DBUG_STALECONFIRM
small fail audit_total.pml -DNT=2 -DNA=1 -DLOCAL -DBUG_EARLYCONFIRM
small fail audit_total.pml -DNT=2 -DNA=1 -DLOCAL -DBUG_OLDEPOCH
small fail audit_total.pml -DNT=1 -DNA=1 -DBUG_OWNEPOCH
small fail audit_total.pml -DNT=1 -DNA=1 -DBUG_NOSETTLE
small fail audit_total.pml -DNT=1 -DNA=1 -DBUG_EARLYNONE
small fail audit_total.pml -DNT=1 -DNA=1 -DBUG_NOPATIENCE
small reach audit_total.pml -DNT=2 -DNA=1 -DLOCAL -DREACH1
small reach audit_total.pml -DNT=1 -DNA=2 -DREACH2
small reach audit_total.pml -DNT=2 -DNA=1 -DLOCAL -DREACH3
EOF
}

# A misspelt option changes nothing and would let a case pass; a variant that no case names would never be run.
check_cases() {
	local bad=0 size expect model options option name file
	while read -r size expect model options; do
		for option in $options; do
			[ "$option" = LTL ] && continue
			name=${option#-D} name=${name%%=*}
			grep -qE "(^#|defined).*\b$name\b" "$here/$model" && continue
			echo "models/run.sh: $model has no option $option" >&2
			bad=1
		done
	done < <(cases)
	for file in "$here"/*.pml; do
		model=${file##*/}
		for name in $(grep -E '^#if|^#elif' "$file" | grep -oE '\b(BUG_[A-Z]+|REACH[0-9]+)\b' | sort -u); do
			cases | grep -E "(fail|reach) +$model " | grep -qE -- "-D$name\b" && continue
			echo "models/run.sh: no case runs $model with -D$name" >&2
			bad=1
		done
		[ "$model" = fork.pml ] || cases | grep -qE "pass +$model\b" || { echo "models/run.sh: no case runs $model" >&2; bad=1; }
	done
	return $bad
}

# judge EXPECT EXIT prints what a finished search shows: pass, caught, reached, or why it shows nothing.
judge() {
	local expect=$1 exit_code=$2
	if [ "$exit_code" = 124 ]; then
		echo "no end within $limit_s s"
	elif grep -qE 'max search depth too small|out of memory|reached -DMEMLIM' search.txt; then
		echo "search truncated"
	elif grep -qE '^pan:[0-9]+: (assertion violated|acceptance cycle)' search.txt; then
		case $expect in
		pass) echo "VIOLATION" ;;
		fail) echo "caught" ;;
		reach) grep -qE 'assertion violated +!\(probe\)' search.txt && echo "reached" || echo "VIOLATION" ;;
		esac
	elif grep -qE '^pan:[0-9]+:' search.txt; then
		grep -E '^pan:[0-9]+:' search.txt | head -1
	elif [ "$exit_code" != 0 ] || ! grep -q 'errors: 0$' search.txt || grep -q 'Search not completed' search.txt; then
		echo "search not completed (exit code $exit_code)"
	else
		echo "pass"
	fi
}

# run_case NUMBER builds and searches one case in its own directory, and leaves its row and verdict there.
run_case() {
	local number=$1 expect model options size states got want code=0
	local mode="-DSAFETY" optimise=-O2 search="" defines=() option
	read -r size expect model options < <(sed -n "${number}p" "$work/cases")
	mkdir "$work/$number" && cd "$work/$number" || exit 2
	for option in $options; do
		if [ "$option" = LTL ]; then mode="" search="-a -A"; else defines+=("$option"); fi
	done
	# Most variants are caught at once: compiling is what they cost.
	[ "$expect" = pass ] || optimise=-O1
	cp "$here/$model" . || exit 2
	if ! spin -a "${defines[@]}" "$model" >build.txt 2>&1 ||
		! gcc $optimise $mode -DNOFAIR -DCOLLAPSE -w -o pan pan.c >>build.txt 2>&1; then
		got="does not build"
		cp build.txt search.txt
	else
		timeout --foreground "$limit_s" ./pan -m10000 -w22 $search >search.txt 2>&1 || code=$?
		got=$(judge "$expect" "$code")
	fi
	times >times.txt # processor time, ours and our children's: it depends less than the clock on what else runs here
	states=$(awk '/states, stored/ { print $1; exit }' search.txt)
	case $expect in pass) want=pass ;; fail) want=caught ;; reach) want=reached ;; esac
	printf '| %s | %s | %s | %s s | %s | %s |\n' "$model" "${options:--}" "${states:--}" \
		"$(tr 'ms' '  ' <times.txt | awk '{ sum += 60*($1+$3)+$2+$4 } END { printf "%.1f", sum }')" "$want" "$got" >row
	rm -f pan pan.*
	if [ "$got" = "$want" ]; then
		[ -t 2 ] && echo "ok  $model $options" >&2
		return 0
	fi
	touch unexpected
	{
		echo "NOT AS EXPECTED: $model $options: expected $want, got $got"
		sed '/^unreached/,$d; s/^/    /' search.txt | head -25
		echo "    to see the steps, in a copy of models/: spin -a ${defines[*]} $model &&" \
			"gcc -O2 $mode -DNOFAIR -DCOLLAPSE -o pan pan.c && ./pan $search -i -m10000; spin -t -p -g ${defines[*]} $model"
	} >&2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 2
limit_s=1800
if [ "${1:-}" = --case ]; then # this script as xargs calls it
	work=$RAFTBANK_MODELS_WORK
	run_case "$2"
	exit 0
fi

jobs=2 size=small word="" write=no
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help) usage; exit 0 ;;
	-j) [ $# -ge 2 ] || { usage >&2; exit 2; }; jobs=$2; shift ;;
	-w) write=yes ;;
	small | full) size=$1 ;;
	-*) usage >&2; exit 2 ;;
	*) word=$1 ;;
	esac
	shift
done
[[ $jobs =~ ^[1-9][0-9]*$ ]] || { echo "models/run.sh: -j $jobs: a number from 1 is needed" >&2; exit 2; }
for tool in spin gcc timeout awk xargs; do
	command -v "$tool" >/dev/null && continue
	echo "models/run.sh: $tool is not installed; on Debian or Ubuntu: apt-get install spin gcc coreutils findutils mawk" >&2
	exit 2
done
check_cases || exit 2

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export RAFTBANK_MODELS_WORK=$work
cases | if [ "$size" = full ]; then cat; else grep '^small'; fi | grep -F -- "$word" >"$work/cases"
count=$(wc -l <"$work/cases")
[ "$count" -gt 0 ] || { echo "models/run.sh: no $size case contains $word" >&2; exit 2; }

# write_table puts the new rows into README.md, in the order of the cases.
write_table() {
	local readme=$here/README.md size expect model options key
	cases | while read -r size expect model options; do
		key="| $model | ${options:--} |"
		cat "$work"/[0-9]*/row "$readme" | grep -F -m1 -- "$key" || echo "models/run.sh: $model $options has no row: not run yet" >&2
	done >"$work/table"
	awk -v table="$work/table" '
		/^\| Model \| Options \| States/ { print; getline; print; while ((getline row < table) > 0) print row; skip = 1; next }
		skip && /^\|/ { next }
		{ skip = 0; print }' "$readme" >"$work/readme" && cat "$work/readme" >"$readme"
}

SECONDS=0
seq "$count" | xargs -P "$jobs" -I{} bash "$here/run.sh" --case {}
echo "| Model | Options | States | CPU | Expected | Got |"
echo "|---|---|---:|---:|---|---|"
rows=0
for ((number = 1; number <= count; number++)); do
	cat "$work/$number/row" 2>/dev/null && rows=$((rows + 1))
done
bad=$(find "$work" -name unexpected | wc -l)
echo
echo "$size: $count cases, $((count - rows + bad)) not as expected, $SECONDS s with $jobs at once, $(spin -V)"
[ "$rows" = "$count" ] && [ "$bad" = 0 ] || exit 1
[ "$write" = no ] || write_table
