# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_portraitd_global_optspecs
    string join \n h/help V/version
end

function __fish_portraitd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_portraitd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_portraitd_using_subcommand
    set -l cmd (__fish_portraitd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c portraitd -n "__fish_portraitd_needs_command" -s h -l help -d 'Print help'
complete -c portraitd -n "__fish_portraitd_needs_command" -s V -l version -d 'Print version'
complete -c portraitd -n "__fish_portraitd_needs_command" -f -a "run" -d 'Run the service'
complete -c portraitd -n "__fish_portraitd_needs_command" -f -a "models" -d 'List the models'
complete -c portraitd -n "__fish_portraitd_needs_command" -f -a "devices" -d 'List the cameras'
complete -c portraitd -n "__fish_portraitd_needs_command" -f -a "check-config" -d 'Check the configuration and show the values in force'
complete -c portraitd -n "__fish_portraitd_needs_command" -f -a "doctor" -d 'Say what is wrong on this system, and how to mend it'
complete -c portraitd -n "__fish_portraitd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c portraitd -n "__fish_portraitd_using_subcommand run" -l config -d 'Read this file instead of those in /usr/lib/portraitd and /etc/portraitd' -r -F
complete -c portraitd -n "__fish_portraitd_using_subcommand run" -l source -d 'The source of the one camera: a device, auto, scene[:NAME], file:PATH, or - for y4m on standard input' -r
complete -c portraitd -n "__fish_portraitd_using_subcommand run" -l bus -d 'The bus with the control interfaces: system, session, none, or a D-Bus address' -r
complete -c portraitd -n "__fish_portraitd_using_subcommand run" -l log -d 'What is logged: a level, or directives like `info,portraitd::pipeline=debug`' -r
complete -c portraitd -n "__fish_portraitd_using_subcommand run" -l threads -d 'Threads of one inference pass: 1 or 2' -r
complete -c portraitd -n "__fish_portraitd_using_subcommand run" -l models-dir -d 'A directory of models, searched before the built-in ones' -r
complete -c portraitd -n "__fish_portraitd_using_subcommand run" -l metrics-file -d 'File to which the metrics are written as Prometheus text' -r
complete -c portraitd -n "__fish_portraitd_using_subcommand run" -s h -l help -d 'Print help'
complete -c portraitd -n "__fish_portraitd_using_subcommand models" -l models-dir -d 'A directory of models, searched before the built-in ones' -r -F
complete -c portraitd -n "__fish_portraitd_using_subcommand models" -l json -d 'Print one JSON document'
complete -c portraitd -n "__fish_portraitd_using_subcommand models" -s h -l help -d 'Print help'
complete -c portraitd -n "__fish_portraitd_using_subcommand devices" -l json -d 'Print one JSON document, with every size, rate and control'
complete -c portraitd -n "__fish_portraitd_using_subcommand devices" -s h -l help -d 'Print help'
complete -c portraitd -n "__fish_portraitd_using_subcommand check-config" -l config -d 'Read this file instead of those in /usr/lib/portraitd and /etc/portraitd' -r -F
complete -c portraitd -n "__fish_portraitd_using_subcommand check-config" -l against -d 'Compare with FILE and print the settings that differ: another configuration file, or what `check-config --json` of another release printed. Exit status 1 if a setting differs' -r -F
complete -c portraitd -n "__fish_portraitd_using_subcommand check-config" -l json -d 'Print the whole configuration as one JSON document'
complete -c portraitd -n "__fish_portraitd_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c portraitd -n "__fish_portraitd_using_subcommand doctor" -l config -d 'Read this file instead of those in /usr/lib/portraitd and /etc/portraitd' -r -F
complete -c portraitd -n "__fish_portraitd_using_subcommand doctor" -l bus -d 'The bus of the service, as in `run`' -r
complete -c portraitd -n "__fish_portraitd_using_subcommand doctor" -l json -d 'Print one JSON document'
complete -c portraitd -n "__fish_portraitd_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c portraitd -n "__fish_portraitd_using_subcommand help; and not __fish_seen_subcommand_from run models devices check-config doctor help" -f -a "run" -d 'Run the service'
complete -c portraitd -n "__fish_portraitd_using_subcommand help; and not __fish_seen_subcommand_from run models devices check-config doctor help" -f -a "models" -d 'List the models'
complete -c portraitd -n "__fish_portraitd_using_subcommand help; and not __fish_seen_subcommand_from run models devices check-config doctor help" -f -a "devices" -d 'List the cameras'
complete -c portraitd -n "__fish_portraitd_using_subcommand help; and not __fish_seen_subcommand_from run models devices check-config doctor help" -f -a "check-config" -d 'Check the configuration and show the values in force'
complete -c portraitd -n "__fish_portraitd_using_subcommand help; and not __fish_seen_subcommand_from run models devices check-config doctor help" -f -a "doctor" -d 'Say what is wrong on this system, and how to mend it'
complete -c portraitd -n "__fish_portraitd_using_subcommand help; and not __fish_seen_subcommand_from run models devices check-config doctor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
