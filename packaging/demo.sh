#!/bin/sh
# Starts reportd without any configuration, asks for two reports as a user would, saves them under out/, stops it.
set -eu
cd "$(dirname "$0")/.."
unset $(env | sed -n 's/^\(REPORTD_[A-Z_]*\)=.*/\1/p')
url=http://127.0.0.1:8080
user=7c9e6679-7425-40de-944b-e07fc1f90ae7
mkdir -p out

.venv/bin/reportd serve > out/reportd.log 2>&1 &
daemon=$!
trap 'kill "$daemon" 2>/dev/null || true' EXIT
until curl -fsS "$url/readyz" > /dev/null 2>&1; do
    if ! kill -0 "$daemon" 2>/dev/null; then
        echo "reportd did not start:" >&2
        cat out/reportd.log >&2
        exit 1
    fi
    sleep 0.1
done
echo "reportd runs; its status page is $url/"

for type in sales_summary user_activity; do
    printf '{"reportType": "%s", "userId": "%s", "parameters": %s}' \
        "$type" "$user" "$(cat "web/reportd_web/reports/$type.sample.json")" > "out/$type.json"
    echo
    echo "\$ curl -H 'Content-Type: application/json' -d @out/$type.json $url/reports/generate-async"
    answer=$(curl -fsS -H 'Content-Type: application/json' -d "@out/$type.json" "$url/reports/generate-async")
    echo "$answer"
    task=$(echo "$answer" | sed 's/.*"taskId":"\([^"]*\)".*/\1/')
    echo "\$ curl '$url/reports/$task?wait=30'"
    report=$(curl -fsS "$url/reports/$task?wait=30")
    echo "$report"
    case "$report" in *'"state":"succeeded"'*) ;; *) exit 1 ;; esac
    echo "\$ curl -o out/$type.pdf $url/reports/$task/pdf"
    curl -fsS -o "out/$type.pdf" "$url/reports/$task/pdf"
done

kill -TERM "$daemon"
wait "$daemon"
trap - EXIT
echo
echo "Stopped with SIGTERM, exit status 0. The reports:"
ls -l "$PWD/out/sales_summary.pdf" "$PWD/out/user_activity.pdf"
echo "\`make run\` keeps it running; the status page is then at $url/"
