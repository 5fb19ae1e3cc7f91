# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_portraitd_lab_global_optspecs
    string join \n h/help V/version
end

function __fish_portraitd_lab_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_portraitd_lab_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_portraitd_lab_using_subcommand
    set -l cmd (__fish_portraitd_lab_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -s h -l help -d 'Print help'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -s V -l version -d 'Print version'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "demo" -d 'Run the service on a synthetic scene and draw a contact sheet of its streams'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "segment" -d 'Write masks, views and composites of pictures and videos'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "direct" -d 'Compute the crops for a trace of people\'s boxes'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "eval" -d 'Score masks against known ones, and measure how steady masks, boxes and crops are'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "bench" -d 'Measure the time of the net, or of the whole frame path, on this machine'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "layers" -d 'Compare the tensors of a net between the engines, and with those of another framework'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "room" -d 'Count the room in composites while the net is slow'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "demo-client" -d 'The client process of `demo`'
complete -c portraitd-lab -n "__fish_portraitd_lab_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo" -l out -d 'The directory for the contact sheet; created if it does not exist' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo" -l scene -d 'The scene and its options' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo" -l seconds -d 'The duration in seconds' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo" -l model -d 'The name of a model, or the path of a manifest' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo" -l models-dir -d 'A directory of models, searched before the built-in ones' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo" -l json -d 'Print one JSON document'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo" -s q -l quiet -d 'Do not say what is going on'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo" -s h -l help -d 'Print help'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -l out -d 'The directory for the results; created if it does not exist' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -l model -d 'The name of a model, or the path of a manifest' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -l models-dir -d 'A directory of models, searched before the built-in ones' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -l composite -d 'Also write the people in front of another background: `#rrggbb`, a basic colour name of CSS such as `navy`, or a picture' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -l plain -d 'One inference pass for each picture, and its output as it is: no closer passes on people who are small or many, and no edges that follow the picture'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -l video -d 'Treat the pictures as consecutive frames of one video'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -l view -d 'Also write the person-centred view'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -l json -d 'Print one JSON document per picture or frame'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -s q -l quiet -d 'Do not say what was written and what was left out'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand segment" -s h -l help -d 'Print help'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand direct" -s h -l help -d 'Print help'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l model -d 'The name of a model, or the path of a manifest' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l models-dir -d 'A directory of models, searched before the built-in ones' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l size -d 'Scale each picture and its truth to fit this size, and score the mask there' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l edges -d 'The method that scales the mask to the size of the picture' -r -f -a "bilinear\t'Interpolate between the cells of the mask'
guided\t'Follow the edges of the picture with the guided filter, as composites do'"
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l closer -d 'The number of passes on one window around all people after the full-frame pass; 0 scores the full-frame pass alone. By default pictures are segmented as `segment` does it' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l count -d 'Use only the first N pictures or videos' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l seconds -d 'Use only the first seconds of each video; for a scene, use this time instead of one period' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l html -d 'Write an HTML page with figures, charts, and the worst pictures' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l wide -d 'First place each picture on a 16:9 canvas with replicated borders, so that people are small'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -l json -d 'Print one JSON document'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand eval" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l model -d 'The name of a model, or the path of a manifest' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l models-dir -d 'A directory of models, searched before the built-in ones' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l iterations -d 'The number of runs; a tenth more runs come first and are not counted' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l isa -d 'The instruction set of the fused plan: scalar, avx2, avx512, neon or rvv; the default is the best of this CPU' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l threads -d 'The number of threads of the fused plan' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l engine -d 'The engine; the default is the one that the service chooses' -r -f -a "plan\t'The fused plan'
tract\t'The tract library'"
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l exchange -d 'Write the net\'s input (in the manifest\'s layout) and its output to this directory, as raw little-endian `f32`, and the program of the plan' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l json -d 'Print one JSON document'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -l on-line -d 'Run once for each line on standard input and print the time in milliseconds, so that a script can alternate between programs'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand layers" -l models-dir -d 'A directory of models, searched before the built-in ones' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand layers" -l input -d 'The input picture (PNG or JPEG); the default is a frame of the scene `still`' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand layers" -l golden -d 'The tensors of another framework, by name, as models/golden.py writes them' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand layers" -l tolerance -d 'The allowed difference, relative to the largest number of the tensor, or to 1 if that is larger' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand layers" -l isa -d 'The instruction set of the fused plan: scalar, avx2, avx512, neon or rvv; the default is the best of this CPU' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand layers" -l json -d 'Print one JSON document'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand layers" -s h -l help -d 'Print help'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand room" -l model -d 'The name of a model, or the path of a manifest' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand room" -l models-dir -d 'A directory of models, searched before the built-in ones' -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand room" -l seconds -d 'The seconds of each scene that are played' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand room" -l truth -d 'Use a net that knows the truth instead of a real one'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand room" -l json -d 'Print one JSON document'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand room" -s h -l help -d 'Print help'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo-client" -l fd -d 'The file descriptor of the D-Bus connection' -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo-client" -l scene -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo-client" -l seconds -r
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo-client" -l sheet -r -F
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand demo-client" -s h -l help -d 'Print help'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "demo" -d 'Run the service on a synthetic scene and draw a contact sheet of its streams'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "segment" -d 'Write masks, views and composites of pictures and videos'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "direct" -d 'Compute the crops for a trace of people\'s boxes'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "eval" -d 'Score masks against known ones, and measure how steady masks, boxes and crops are'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "bench" -d 'Measure the time of the net, or of the whole frame path, on this machine'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "layers" -d 'Compare the tensors of a net between the engines, and with those of another framework'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "room" -d 'Count the room in composites while the net is slow'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "demo-client" -d 'The client process of `demo`'
complete -c portraitd-lab -n "__fish_portraitd_lab_using_subcommand help; and not __fish_seen_subcommand_from demo segment direct eval bench layers room demo-client help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
