#!/bin/sh
# Installs the agent of restic-manager on this machine and enrolls it with the server that made this script. Run again,
# it upgrades the agent. --help tells the options, --dry-run what it would do.
# All is in functions, and the last line starts them: of a download that broke off, nothing is run.

#@values

usage() {
	cat <<EOF
Installs the restic-manager agent on this machine and enrolls it with $made_for.
Run again, it upgrades the agent; that needs no token.

  --token TOKEN          enrollment token. Out of sight of other users: --token-file, or RESTIC_MANAGER_TOKEN
  --token-file FILE      file that holds the token
  --name NAME            name of this machine in place of its hostname
  --allow maintenance    also let the server order forget and prune
  --allow-paths PATHS    let the server order backups of these paths alone, as in /etc,/home
  --install-restic       install restic by the distribution's package where it is missing
  --server URL           reach the server at another address
  --ca FILE              trust these certificates (PEM) in place of the system's
  --cert-pin sha256:SUM  trust the server's certificate of this sum alone; twice to prepare a change
  --proxy URL            proxy on the way to the server
  --insecure-http        allow http:// to a server that is not on this machine
  --force                enroll anew a machine that is enrolled already
  --root DIR             put every file below DIR, for trying it out
  --dry-run              say what would be done, and change nothing
  --uninstall            stop the agent and remove it with its settings and state; backups stay
  --help                 this
EOF
}

say() { printf '%s\n' "$*"; }

complain() { printf 'install.sh: %s\n' "$*" >&2; }

fail() {
	complain "$@"
	exit 1
}

# wrong is a command line that cannot work.
wrong() {
	complain "$*. See --help."
	exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

# do_or_say runs a command, or tells it in a dry run. No command may read this script, which is its own standard input.
do_or_say() {
	if [ -n "$dry" ]; then
		say "would run: $*"
	else
		"$@" </dev/null
	fi
}

# main reads the command line into variables, leaves in "$@" what enroll gets too, and does one thing after the other.
main() {
	set -eu
	umask 022
	LC_ALL=C
	export LC_ALL
	unset token value # an exported variable of that name would stay exported
	token='' token_file='' server=$made_for ca='' pins='' proxy='' root='' dry='' restic='' force='' uninstall='' guarded=''
	left=$#
	while [ "$left" -gt 0 ]; do
		option=$1 value=''
		shift
		left=$((left - 1))
		case $option in
		--token | --token-file | --name | --allow | --allow-paths | --server | --ca | --cert-pin | --proxy | --root)
			[ "$left" -gt 0 ] || wrong "$option needs a value"
			value=$1
			shift
			left=$((left - 1))
			;;
		--*=*)
			value=${option#*=} option=${option%%=*}
			case $option in
			--token | --token-file | --name | --allow | --allow-paths | --server | --ca | --cert-pin | --proxy | --root) ;;
			*) wrong "$option takes no value, or is not known" ;;
			esac
			;;
		--install-restic | --insecure-http | --force | --dry-run | --uninstall | --help | -h) value=yes ;;
		*) wrong "what is \"$option\"?" ;;
		esac
		[ -n "$value" ] || wrong "$option is empty"
		case $option in
		--token) token=$value ;;
		--token-file) token_file=$value ;;
		--server) server=${value%/} ;;
		--proxy) proxy=$value ;;
		--root) root=${value%/} ;;
		--install-restic) restic=yes ;;
		--dry-run) dry=yes ;;
		--uninstall) uninstall=yes ;;
		--help | -h)
			usage
			return 0
			;;
		esac
		# What is for enroll goes behind what is not read yet, and so keeps its form, whatever is in it.
		case $option in
		--allow | --allow-paths) guarded=yes ;;
		--cert-pin) pins="$pins $value" ;;
		--ca) ca=$value ;;
		--force) force=yes ;;
		esac
		case $option in
		--name | --allow | --allow-paths | --ca | --cert-pin | --proxy) set -- "$@" "$option=$value" ;;
		--insecure-http | --force) set -- "$@" "$option" ;;
		esac
	done
	check_place
	if [ -n "$uninstall" ]; then
		uninstall
		return 0
	fi
	read_token
	check_machine
	if [ -n "$pins$ca" ] || [ "$server" != "$made_for" ]; then
		: # the person said whom to trust
	elif [ -n "$cert_pin" ]; then
		set -- "$@" "--cert-pin=$cert_pin"
		pins=" $cert_pin"
	fi
	install_agent
	install_service
	install_restic
	enroll "$@"
	start
	finish
}

# check_place wants the right to write, and names the files.
check_place() {
	[ "$(uname -s)" = Linux ] || fail "this is $(uname -s); there are agents for Linux only"
	case $root in
	'' | /*) ;;
	*) wrong "--root wants an absolute path" ;;
	esac
	if [ "$(id -u)" != 0 ] && [ -z "$root$dry" ]; then
		fail "this must run as root, and nothing was done. Next: put sudo before sh, as in: curl … | sudo sh -s -- …"
	fi
	program=$root/usr/bin/restic-manager-agent
	etc=$root/etc/restic-manager
	unit=$root/etc/systemd/system/restic-manager-agent.service
	rc_script=$root/etc/init.d/restic-manager-agent
	init=none
	if [ -d "$root/run/systemd/system" ] && have systemctl; then
		init=systemd
	elif have rc-service && have rc-update && [ -d "$root/etc/init.d" ]; then
		init=openrc
	fi
}

# read_token takes the token from where it is, and out of the environment: what runs from here on need not see it.
read_token() {
	if [ -n "$token_file" ]; then
		[ -z "$token" ] || wrong "give --token or --token-file, not both"
		[ -r "$token_file" ] || fail "the token's file $token_file cannot be read"
		token=$(head -c 4096 "$token_file" | tr -d ' \t\r\n')
	elif [ -z "$token" ]; then
		token=${RESTIC_MANAGER_TOKEN:-}
	fi
	unset RESTIC_MANAGER_TOKEN
	enrolled=''
	if [ -f "$etc/agent.yaml" ] && grep -q '^host_id:' "$etc/agent.yaml"; then
		enrolled=yes
	fi
	case $token in
	'')
		if [ -z "$enrolled" ] || [ -n "$force" ]; then
			fail "no enrollment token, and nothing was done. Next: make one on the server's page or by restic-manager token create, and give it by --token"
		fi
		;;
	*[!A-Za-z0-9_-]*) fail "this is no enrollment token: it has letters, digits, - and _ alone; nothing was done" ;;
	rme_*) ;;
	*) fail "this is no enrollment token: it begins with rme_; nothing was done. Next: make one on the server" ;;
	esac
}

# check_machine finds which agent this machine needs, and what can fetch and check it.
check_machine() {
	case $server in
	*[!]A-Za-z0-9.:/_[~%-]*) wrong "--server is no URL" ;;
	https://?* | http://?*) ;;
	*) wrong "--server wants https://host or https://host:port" ;;
	esac
	machine=$(uname -m)
	case $machine in
	x86_64 | amd64) platform=linux-amd64 ;;
	aarch64 | arm64) platform=linux-arm64 ;;
	armv7* | armv8l) platform=linux-armv7 ;;
	*) platform=linux-$machine ;;
	esac
	sum=$(sum_of "$platform")
	[ -n "$sum" ] || fail "the server has no agent for this machine ($machine); it has:$platforms. Nothing was done"
	have curl || have wget || fail "neither curl nor wget is here. Next: install one of them"
	have sha256sum || have openssl || fail "neither sha256sum nor openssl is here to check the download by. Next: install one of them"
	[ -z "$ca" ] || [ -r "$ca" ] || fail "the certificates $ca cannot be read; nothing was done"
	case $ca in
	'' | /*) ;;
	*) ca=$PWD/$ca ;;
	esac
}

sum_file() {
	if have sha256sum; then
		sha256sum <"$1" | cut -d ' ' -f 1
	else
		openssl dgst -sha256 -r <"$1" | cut -d ' ' -f 1
	fi
}

# fetch writes a URL into a file. The sum that this script carries vouches for what comes, whoever sent it; the
# certificate is checked all the same, as far as the program at hand can. A certificate's own sum is none that curl or
# wget know: they get that of its key, where the two are the same server's.
fetch() {
	pinned=''
	case "$pins " in
	*" $cert_pin "*) pinned=$spki_pin ;;
	esac
	if [ -n "$proxy" ]; then
		# In the environment, where a password in it is not seen.
		http_proxy=$proxy https_proxy=$proxy
		export http_proxy https_proxy
	fi
	if have curl; then
		set -- -fsSL --connect-timeout 20 --retry 3 -o "$2" "$1"
		[ -z "$ca" ] || set -- --cacert "$ca" "$@"
		if [ -n "$pins" ] && [ -z "$ca" ]; then
			set -- -k "$@"
		fi
		[ -z "$pinned" ] || set -- --pinnedpubkey "$pinned" "$@"
		curl "$@" </dev/null
		return
	fi
	help=$(wget --help 2>&1 || true)
	set -- -q -O "$2" "$1"
	if [ -n "$ca" ]; then
		case $help in
		*--ca-certificate*) set -- "--ca-certificate=$ca" "$@" ;;
		*) set -- --no-check-certificate "$@" ;;
		esac
	elif [ -n "$pins" ]; then
		set -- --no-check-certificate "$@"
	fi
	if [ -n "$pinned" ]; then
		case $help in
		*--pinnedpubkey*) set -- "--pinnedpubkey=$pinned" "$@" ;;
		esac
	fi
	wget "$@" </dev/null
}

# install_agent puts the program in its place, whole or not at all.
install_agent() {
	changed=''
	if [ -f "$program" ] && [ "$(sum_file "$program")" = "$sum" ]; then
		say "The agent $version is there already: $program"
		return 0
	fi
	url=$server/download/agent/$platform
	if [ -n "$dry" ]; then
		say "would fetch $url, check that its SHA-256 is $sum, and put it to $program"
		changed=yes
		return 0
	fi
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	fetch "$url" "$work/agent" || fail "$url could not be fetched; nothing was changed. Next: see what is said above, and give the same command again"
	got=$(sum_file "$work/agent")
	[ "$got" = "$sum" ] ||
		fail "what came from $url is not what this script was made for (SHA-256 $got in place of $sum); nothing was changed. Next: fetch the script anew; the server may have been upgraded meanwhile"
	# A copy in the same folder has the labels of the folder (SELinux), and takes the place in one step.
	mkdir -p "${program%/*}"
	rm -f "$program.new"
	if ! cp "$work/agent" "$program.new" || ! chmod 755 "$program.new" || ! "$program.new" version </dev/null >/dev/null; then
		rm -f "$program.new"
		fail "the agent cannot be put into ${program%/*}, or does not run there; the old one, if any, stays"
	fi
	mv -f "$program.new" "$program"
	changed=yes
	say "The agent $version is at $program"
}

# put_file writes a text to a file with that mode, if that is other than what is there.
put_file() {
	if [ -f "$1" ] && [ "$(cat "$1")" = "$3" ]; then
		return 0
	fi
	changed=yes
	if [ -n "$dry" ]; then
		say "would write $1"
		return 0
	fi
	mkdir -p "${1%/*}"
	printf '%s\n' "$3" >"$1.new"
	chmod "$2" "$1.new"
	mv -f "$1.new" "$1"
}

install_service() {
	case $init in
	systemd) put_file "$unit" 644 "$(unit_text)" ;;
	openrc) put_file "$rc_script" 755 "$(rc_text)" ;;
	esac
}

# restic_command is how this distribution installs restic; empty when that is not known.
restic_command() {
	if have apt-get; then
		say apt-get install -y restic
	elif have dnf; then
		say dnf install -y restic
	elif have apk; then
		say apk add --no-cache restic
	elif have pacman; then
		say pacman -S --noconfirm --needed restic
	elif have zypper; then
		say zypper --non-interactive install restic
	fi
}

# install_restic comes before the enrollment, which tells the server restic's version.
install_restic() {
	restic_missing=''
	if have restic; then
		return 0
	fi
	by=$(restic_command)
	if [ -z "$restic" ]; then
		restic_missing="restic is not here, and backups need it. Next: ${by:-install it from https://restic.net}, or --install-restic"
		return 0
	fi
	if [ -z "$by" ]; then
		restic_missing="restic was not installed: no package manager that is known here. Next: install it from https://restic.net"
		return 0
	fi
	say "Installing restic: $by"
	DEBIAN_FRONTEND=noninteractive
	export DEBIAN_FRONTEND
	if have apt-get; then
		do_or_say apt-get update -q || complain "apt-get update failed; trying without"
	fi
	# shellcheck disable=SC2086 # the words of the table above
	do_or_say $by || restic_missing="restic was not installed: $by failed. Next: see what it said; the agent finds restic as soon as it is there"
}

# enroll gives the token in the environment of the one program that needs it: arguments are for all to see.
enroll() {
	if [ -n "$enrolled" ] && [ -z "$force" ]; then
		say "This machine is enrolled already ($etc/agent.yaml)."
		[ -z "$token" ] || say "The token was not used. To enroll it anew: --force"
		[ -z "$guarded" ] || say "--allow and --allow-paths were not used: what the server may order is in $etc/guard.yaml"
		return 0
	fi
	changed=yes
	[ -z "$root" ] || set -- "--config=$etc/agent.yaml" "$@"
	if [ -n "$dry" ]; then
		say "would enroll with $server, by: $program enroll --server=$server $*"
		return 0
	fi
	code=0
	said=$(RESTIC_MANAGER_TOKEN=$token "$program" enroll "--server=$server" "$@" </dev/null) || code=$?
	if [ "$code" != 0 ]; then
		complain "the agent is installed, and neither enrolled nor started. Next: see what it says above, and give the same command again"
		exit "$code"
	fi
	# What comes behind is what to do by hand.
	say "$said" | head -n 2
}

start() {
	case $init in
	systemd)
		do_or_say systemctl daemon-reload
		do_or_say systemctl enable restic-manager-agent || fail "the agent is enrolled, and does not start at boot. Next: see what systemctl says above"
		if [ -n "$changed" ]; then
			set -- restart
		else
			set -- start
		fi
		do_or_say systemctl "$1" restic-manager-agent || fail "the agent is enrolled, and did not start. Next: journalctl -u restic-manager-agent"
		;;
	openrc)
		do_or_say rc-update add restic-manager-agent default || fail "the agent is enrolled, and does not start at boot. Next: see what rc-update says above"
		if [ -n "$changed" ]; then
			set -- restart
		else
			set -- start
		fi
		do_or_say rc-service restic-manager-agent "$1" || fail "the agent is enrolled, and did not start. Next: see /var/log/restic-manager-agent.log"
		;;
	esac
}

finish() {
	[ -z "$dry" ] || {
		say "Nothing was changed."
		return 0
	}
	if [ "$init" = none ]; then
		say "Neither systemd nor OpenRC runs here. Next: have your init start this, as root:"
		say "  $program run${root:+ --config $etc/agent.yaml}"
	else
		say "The agent runs, and starts at boot."
	fi
	if ! grep -q '^repo_url:' "$etc/agent.yaml"; then
		say "Next: name this machine's repository on the server's page, or in $etc/agent.yaml."
	fi
	say "How it is: $program status${root:+ --config $etc/agent.yaml}"
	if [ -n "$restic_missing" ]; then
		complain "$restic_missing"
		[ -z "$restic" ] || exit 1
	fi
}

# remove deletes what is there.
remove() {
	for path in "$@"; do
		if [ -e "$path" ] || [ -L "$path" ]; then
			do_or_say rm -rf "$path"
		fi
	done
}

# running lists the processes of the agent: itself and the supervisors of its jobs.
running() {
	for process in /proc/[0-9]*; do
		case $(readlink "$process/exe" 2>/dev/null || true) in
		"$program" | "$program (deleted)") say "${process#/proc/}" ;;
		esac
	done
}

# end_jobs has every restic end, which takes its lock out of the repository. Supervisors heed the file alone, an agent
# that was started by hand the signal.
end_jobs() {
	for folder in "$root"/var/lib/restic-manager-agent/jobs/*/; do
		[ ! -d "$folder" ] || do_or_say touch "${folder}cancel"
	done
	for process in $(running); do
		do_or_say kill -TERM "$process" || true # it may have ended
	done
	tries=60
	while [ -z "$dry" ] && [ "$tries" -gt 0 ] && [ -n "$(running)" ]; do
		sleep 1
		tries=$((tries - 1))
	done
}

# uninstall leaves the repository, wherever it is, and what others put into the folders.
uninstall() {
	case $init in
	systemd)
		if [ -e "$unit" ]; then
			do_or_say systemctl disable --now restic-manager-agent || complain "systemctl could not stop the agent; going on"
		fi
		remove "$unit" "$unit.d"
		do_or_say systemctl daemon-reload || complain "systemctl daemon-reload failed; going on"
		;;
	openrc)
		if [ -e "$rc_script" ]; then
			do_or_say rc-service --ifstarted restic-manager-agent stop || complain "rc-service could not stop the agent; going on"
			do_or_say rc-update del restic-manager-agent default || complain "rc-update could not take the agent out; going on"
		fi
		remove "$rc_script" "$root/var/log/restic-manager-agent.log"
		;;
	esac
	end_jobs
	state=$root/var/lib/restic-manager-agent
	restored=''
	if [ -d "$state/restore" ] && [ -n "$(ls -A "$state/restore")" ]; then
		restored=$state/restore
	fi
	for path in "$state"/* "$state"/.[!.]*; do
		[ "$path" = "$restored" ] || remove "$path"
	done
	[ -n "$restored" ] || remove "$state"
	# The server's own settings may be in the same folder.
	remove "$program" "$program.new" "$root/var/cache/restic-manager-agent" "$root/run/restic-manager-agent" \
		"$etc/agent.yaml" "$etc/guard.yaml" "$etc/.agent.yaml.enrolling"
	if [ -n "$dry" ]; then
		say "Nothing was changed."
		return 0
	fi
	rmdir "$etc" 2>/dev/null || true
	say "The agent is removed from this machine."
	say "Left: the repository with its backups, and restic."
	[ -z "$restored" ] || say "Left: restored files in $restored."
	[ ! -d "$etc" ] || say "Left: $etc, with what is not the agent's."
	say "The server still knows this machine. Next: revoke or delete it there."
}

{ main "$@"; }
