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
complete -c waypost -n "__fish_waypost_needs_command" -f -a "run" -d 'Run the agent until SIGTERM; SIGHUP reloads the configuration'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "replay" -d 'Send recorded logs through the code that runs in the van'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "check" -d 'Check the configuration and report every problem at once'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "config" -d 'Show the configuration'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "status" -d 'Show the status of the agent on this host'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "doctor" -d 'Diagnose the agent, from the receiver to the broker, and suggest remedies'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "scan" -d 'Inject a scan, as if a scanner had read CODE'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "outcome" -d 'Record a delivery outcome for a parcel'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "duty" -d 'Set the driver\'s duty state'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "delay" -d 'Report a delay of the van and its reason'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "log" -d 'Set the log level of the agent until it restarts'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "decode" -d 'Decode compact messages of the topic `track` to JSON'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "identify" -d 'Identify codes of parcel labels and RFID tags'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "completions" -d 'Write a shell completion script to standard output'
complete -c waypost -n "__fish_waypost_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c waypost -n "__fish_waypost_using_subcommand run" -l config -d 'Path of the configuration file' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand run" -l speed -d 'Run the agent\'s clock this many times faster, to simulate a day in minutes' -r
complete -c waypost -n "__fish_waypost_using_subcommand run" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l emit -d 'Write each accepted fix, or each record, as a line of JSON' -r -f -a "fixes\t'Each accepted fix with all decimals, to compare receivers and parsers'
records\t'Each record, as stored in the outbox and published on the topic `track`'"
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l date -d 'Day of the recording, to resolve the century and the GPS week rollover' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l config -d 'Path of the configuration file' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l broker -d 'URL of the broker, instead of the configured one: `mqtt://HOST[:PORT]`' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l van -d 'Van id, instead of the configured one' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l outbox -d 'Path of the outbox, instead of the configured one' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l sampling -d 'Sampling of the track, instead of the configured one: raw or bounded; with --emit records the default is raw' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l max-error-m -d 'With bounded: maximum distance in metres between the track and the van' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -l speed -d 'Replay speed as a multiple of real time, or max' -r
complete -c waypost -n "__fish_waypost_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c waypost -n "__fish_waypost_using_subcommand check" -l config -d 'Path of the configuration file' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand check" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand config; and not __fish_seen_subcommand_from show help" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand config; and not __fish_seen_subcommand_from show help" -f -a "show" -d 'Show every key with its effective value, from the file and its drop-ins'
complete -c waypost -n "__fish_waypost_using_subcommand config; and not __fish_seen_subcommand_from show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'Path of the configuration file' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from show" -l origin -d 'Show after each key the file that sets it'
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show every key with its effective value, from the file and its drop-ins'
complete -c waypost -n "__fish_waypost_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c waypost -n "__fish_waypost_using_subcommand status" -l control -d 'Path of the agent\'s control socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand status" -l json -d 'Write JSON, one object per line; docs/control.md describes its members'
complete -c waypost -n "__fish_waypost_using_subcommand status" -l watch -d 'Repeat every second until interrupted'
complete -c waypost -n "__fish_waypost_using_subcommand status" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand doctor" -l config -d 'Path of the agent\'s configuration file' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand doctor" -l control -d 'Path of the agent\'s control socket, instead of the configured one' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand doctor" -l json -d 'Write JSON: `first`, and `findings` in the order of cause'
complete -c waypost -n "__fish_waypost_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand scan" -l control -d 'Path of the agent\'s control socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand scan" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand outcome" -l code -d 'Reason why it could not be delivered: the code on the control card, such as AQ' -r
complete -c waypost -n "__fish_waypost_using_subcommand outcome" -l how -d 'Place of the delivery, if not to a person at the stop' -r -f -a "safe-place\t''
neighbour\t''
locker\t''"
complete -c waypost -n "__fish_waypost_using_subcommand outcome" -l control -d 'Path of the agent\'s control socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand outcome" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand duty" -l control -d 'Path of the agent\'s control socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand duty" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand delay" -l control -d 'Path of the agent\'s control socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand delay" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand log" -l control -d 'Path of the agent\'s control socket' -r -F
complete -c waypost -n "__fish_waypost_using_subcommand log" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand decode" -l van -d 'Van id for messages without a topic' -r
complete -c waypost -n "__fish_waypost_using_subcommand decode" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand identify" -l domain -d 'Operator\'s domain, for the URIs of parcels without a GS1 number' -r
complete -c waypost -n "__fish_waypost_using_subcommand identify" -l json -d 'Write one JSON object per line'
complete -c waypost -n "__fish_waypost_using_subcommand identify" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand completions" -s h -l help -d 'Print help'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "run" -d 'Run the agent until SIGTERM; SIGHUP reloads the configuration'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "replay" -d 'Send recorded logs through the code that runs in the van'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "check" -d 'Check the configuration and report every problem at once'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "config" -d 'Show the configuration'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "status" -d 'Show the status of the agent on this host'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "doctor" -d 'Diagnose the agent, from the receiver to the broker, and suggest remedies'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "scan" -d 'Inject a scan, as if a scanner had read CODE'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "outcome" -d 'Record a delivery outcome for a parcel'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "duty" -d 'Set the driver\'s duty state'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "delay" -d 'Report a delay of the van and its reason'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "log" -d 'Set the log level of the agent until it restarts'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "decode" -d 'Decode compact messages of the topic `track` to JSON'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "identify" -d 'Identify codes of parcel labels and RFID tags'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "completions" -d 'Write a shell completion script to standard output'
complete -c waypost -n "__fish_waypost_using_subcommand help; and not __fish_seen_subcommand_from run replay check config status doctor scan outcome duty delay log decode identify completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c waypost -n "__fish_waypost_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Show every key with its effective value, from the file and its drop-ins'
