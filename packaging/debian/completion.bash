# bash completion for reportd                              -*- shell-script -*-

_reportd() {
    local cur prev command word options
    COMPREPLY=()
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD - 1]}
    command=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        breakers | check-config | dead-letters | doctor | get | init | preview | provision | serve | submit | token)
            command=$word
            break
            ;;
        esac
    done
    [[ $command == preview && $prev == --params ]] && prev=--config # a file, and nothing else
    case $prev in
    --config | --token-file | -o)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        compopt -o filenames 2> /dev/null
        return
        ;;
    --params | --reason | --url | --user | --locale | --timezone | --file-name | --pdf | --port)
        return
        ;;
    esac
    local types="account_ledger dashboard invoice sales_summary user_activity"
    case $command in
    breakers) options="open close probe --reason --url --token-file" ;;
    check-config | doctor | serve) options="--config" ;;
    dead-letters) options="list show requeue drop --url --token-file" ;;
    get) options="-o --url --token-file" ;;
    init) options="--config" ;;
    preview) options="$types --params --locale --timezone --open --port --config" ;;
    provision) options="--config --dry-run" ;;
    submit) options="$types --params --user --locale --timezone --file-name --pdf --wait -o --url --token-file" ;;
    token) options="--user" ;;
    *) options="breakers check-config dead-letters doctor get init preview provision serve submit token --version" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$cur")
} && complete -F _reportd reportd
