#!/bin/sh
# Runs in the virtual machine that test_memory.py boots, and says on the console how it went.
say() { echo "trial: $*" > /dev/ttyS0; }
fail() { say "failed: $*"; journalctl -u reportd -o cat -n 60 --no-pager > /dev/ttyS0; systemctl --no-block poweroff; exit 1; }
set -u
export DEBIAN_FRONTEND=noninteractive
url=http://127.0.0.1:8080 group=/sys/fs/cgroup/system.slice/reportd.service

mkdir -p /etc/reportd /etc/systemd/system/reportd.service.d
# The processor is emulated, and slow.
printf '[Service]\nWatchdogSec=120\nTimeoutStartSec=600\n' > /etc/systemd/system/reportd.service.d/slow.conf
dpkg -i --force-confold /root/reportd.deb > /dev/null 2>&1 || fail "dpkg"
cat >> /etc/reportd/reportd.toml <<'END'
[reports.ordinary]
template = "ordinary.html"
timeout_seconds = 600
[reports.endless]
template = "endless.html"
ready = "expression:window.never"
timeout_seconds = 600
END
sed -i -e 's/^#browsers = .*/browsers = 2/' -e 's/^#pages_per_browser = .*/pages_per_browser = 1/' \
    -e 's/^#start_timeout_seconds = .*/start_timeout_seconds = 300/' \
    -e 's/^#renderer_limit_mib = .*/renderer_limit_mib = 1000000/' /etc/reportd/reportd.toml
echo '<p>{{ number }}' > /etc/reportd/ordinary.html
cat > /etc/reportd/endless.html <<'END'
<script>
const kept = [];
function more() { kept.push(new Uint8Array(32 << 20).fill(1)); setTimeout(more, 0); }
more();
</script>
END
systemctl restart reportd || fail "start"
say "status $(systemctl show --value -p StatusText reportd)"
pid=$(systemctl show --value -p MainPID reportd)
say "daemon $(sed 's/^0:://' "/proc/$pid/cgroup")"
say "limits $(cat $group/memory.max) $(cat $group/browsers/memory.max)"
for browser in "$group"/browsers/profile-*; do
    say "browser $(wc -l < "$browser/cgroup.procs") $(cat "$browser/memory.oom.group")"
done

submit() {
    curl -fsS --max-time 60 -H 'Content-Type: application/json' "$url/reports/generate-async" \
        -d "{\"reportType\": \"$1\", \"userId\": \"7c9e6679-7425-40de-944b-e07fc1f90ae7\", \"parameters\": {\"number\": $2}}" |
        sed 's/.*"taskId":"\([^"]*\)".*/\1/'
}
tasks=""
for number in 1 2 3; do tasks="$tasks $(submit ordinary $number)"; done
endless=$(submit endless 0)
for number in 4 5 6 7 8 9; do tasks="$tasks $(submit ordinary $number)"; done

finished() {
    for _ in $(seq 60); do
        report=$(curl -fsS --max-time 60 "$url/reports/$1?wait=20")
        case "$report" in *'"state":"succeeded"'* | *'"state":"quarantined"'*) echo "$report"; return ;; esac
    done
    echo "not finished: $report"
}
for task in $tasks; do
    say "ordinary $(finished "$task" | sed 's/.*"state":"\([a-z_]*\)","attempts":\([0-9]*\).*/\1 \2/')"
done
say "endless $(finished "$endless" | sed 's/.*"state":"\([a-z_]*\)".*"kind":"\([a-z_]*\)".*/\1 \2/')"
say "killed $(journalctl -u reportd -o cat REPORTD_EVENT=browser.out_of_memory --no-pager | wc -l)"
say "pid $pid $(systemctl show --value -p MainPID reportd) restarts $(systemctl show --value -p NRestarts reportd)"
say "after $(curl -fsS -o /dev/null -w '%{http_code}' "$url/healthz")"
say "done"
systemctl --no-block poweroff
