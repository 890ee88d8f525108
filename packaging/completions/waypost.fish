# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_waypost_global_optspecs
    string join \n h/help V/version
end

function __fish_waypost_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_waypost_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_waypost_using_subcommand
    set -l cmd (__fish_waypost_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c waypost -n "__fish_waypost_needs_command" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_needs_command" -s V -l version -d 'Print version'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "run" -d 'Run the agent until SIGTERM; SIGHUP reads the configuration anew'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "replay" -d 'Send recorded logs through the code that runs in the van'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "check" -d 'Check the configuration: every problem in one report'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "config" -d 'Look at the configuration'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "status" -d 'Say how the agent on this host is'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "why" -d 'Say what is wrong, from the receiver to the broker, and what to do about it'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "scan" -d 'Tell the agent a code, as if it had been scanned'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "outcome" -d 'Tell the agent what became of a parcel'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "duty" -d 'Tell the agent whether the driver is on duty'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "delay" -d 'Tell the agent why the van is late'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "log" -d 'Change how much the agent logs, until it starts anew'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "decode" -d 'Write compact messages of the topic `track` as the JSON that they stand for'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "code" -d 'Say what the codes of labels and radio tags mean'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "completions" -d 'Write the completions of a shell to standard output'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c waypost -n "__fish_waypost_using_subcommand run" -l config -d 'The configuration' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand run" -l speed -d 'The agent\'s time runs so many times as fast: for a simulated day in minutes' -r
complete -c waypost -n "__fish_waypost_using_subcommand run" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l emit -d 'Write each accepted fix, or each record, as a line of JSON' -r -f -a "fixes\t'Each accepted fix, with all decimals: to compare receivers and parsers'
records\t'Each record as the outbox would keep it and the topic `track` would carry it'"
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l date -d 'The day of the recording: century and week rollover are judged by it' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l config -d 'The configuration' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l broker -d 'The broker, instead of the configuration\'s: `mqtt://HOST[:PORT]`' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l van -d 'The van\'s id, instead of the configuration\'s' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l outbox -d 'The outbox, instead of the configuration\'s' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l sampling -d 'Which fixes the trail keeps, instead of the configuration\'s: raw or bounded; with --emit records it is raw' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l max-error-m -d 'With bounded: how far the lines between the kept points may be from the van, in metres' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l speed -d 'How many times faster than it was recorded, or max' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c waypost -n "__fish_waypost_using_subcommand check" -l config -d 'The configuration' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand check" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand config; and not __fish_seen_subcommand_from show help" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand config; and not __fish_seen_subcommand_from show help" -f -a "show" -d 'Write every key with the value that it has, the file and its drop-ins taken together'
complete -c waypost -n "__fish_waypost_using_subcommand config; and not __fish_seen_subcommand_from show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'The configuration' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from show" -l origin -d 'Say after each key which file it is from'
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Write every key with the value that it has, the file and its drop-ins taken together'
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c waypost -n "__fish_waypost_using_subcommand status" -l control -d 'The agent\'s socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand status" -l json -d 'As JSON, one object a line; docs/control.md has its members'
complete -c waypost -n "__fish_waypost_using_subcommand status" -l watch -d 'Again each second, until interrupted'
complete -c waypost -n "__fish_waypost_using_subcommand status" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand why" -l config -d 'The agent\'s configuration' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand why" -l control -d 'The agent\'s socket, instead of the configuration\'s' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand why" -l json -d 'As JSON: `first`, and `findings` in the order of cause'
complete -c waypost -n "__fish_waypost_using_subcommand why" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand scan" -l control -d 'The agent\'s socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand scan" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand outcome" -l code -d 'Why it could not be handed over: the code on the control card, such as AQ' -r
complete -c waypost -n "__fish_waypost_using_subcommand outcome" -l how -d 'How it was handed over, if not to somebody at the stop' -r -f -a "safe-place\t''
neighbour\t''
locker\t''"
complete -c waypost -n "__fish_waypost_using_subcommand outcome" -l control -d 'The agent\'s socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand outcome" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand duty" -l control -d 'The agent\'s socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand duty" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand delay" -l control -d 'The agent\'s socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand delay" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand log" -l control -d 'The agent\'s socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand log" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand decode" -l van -d 'The van, where no topic names it' -r
complete -c waypost -n "__fish_waypost_using_subcommand decode" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand code" -l domain -d 'The operator\'s domain, in the URIs of parcels that GS1 does not number' -r
complete -c waypost -n "__fish_waypost_using_subcommand code" -l json -d 'Write an object a line'
complete -c waypost -n "__fish_waypost_using_subcommand code" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand completions" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "run" -d 'Run the agent until SIGTERM; SIGHUP reads the configuration anew'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "replay" -d 'Send recorded logs through the code that runs in the van'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "check" -d 'Check the configuration: every problem in one report'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "config" -d 'Look at the configuration'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "status" -d 'Say how the agent on this host is'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "why" -d 'Say what is wrong, from the receiver to the broker, and what to do about it'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "scan" -d 'Tell the agent a code, as if it had been scanned'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "outcome" -d 'Tell the agent what became of a parcel'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "duty" -d 'Tell the agent whether the driver is on duty'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "delay" -d 'Tell the agent why the van is late'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "log" -d 'Change how much the agent logs, until it starts anew'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "decode" -d 'Write compact messages of the topic `track` as the JSON that they stand for'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "code" -d 'Say what the codes of labels and radio tags mean'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "completions" -d 'Write the completions of a shell to standard output'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status why scan outcome duty delay log decode code completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c waypost -n "__fish_waypost_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Write every key with the value that it has, the file and its drop-ins taken together'
