# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_portraitctl_global_optspecs
    string join \n bus= camera= json q/quiet h/help V/version
end

function __fish_portraitctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_portraitctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_portraitctl_using_subcommand
    set -l cmd (__fish_portraitctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c portraitctl -n "__fish_portraitctl_needs_command" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_needs_command" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_needs_command" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -s V -l version -d 'Print version'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "list" -d 'Lists the cameras'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "status" -d 'Shows every property of a camera'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "watch" -d 'Shows a table of the cameras on a terminal, until it is interrupted; elsewhere, prints a line for every property of a camera that changes'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "attach" -d 'Attaches to a stream and reads its frames, across changes of size and format'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "snapshot" -d 'Saves the newest picture of a stream as PNG'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "set" -d 'Changes settings'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "controls" -d 'Shows the controls of the camera\'s driver (exposure, white balance, focus...), in the form that the configuration takes. `set controls.gain=5` changes one'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "provide" -d 'Provides the frames of a camera whose device is "provider" from a y4m video (4:2:0, 4:2:2 or grey), until its end. For root and the group portraitd-providers'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "reframe" -d 'Frames the people again, now'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "preview" -d 'Serves a web page that shows the cameras and changes their settings, until it is interrupted. Prints the address of the page. A camera is open only while a page shows it'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "stats" -d 'Shows the figures that the service measures'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "wait" -d 'Waits until the service is on the bus and no camera is absent, starting, stalled or failed. It starts no service and opens no camera'
complete -c portraitctl -n "__fish_portraitctl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand list" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand list" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand list" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand list" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand list" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand status" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand status" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand status" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand status" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand watch" -l changes -d 'Prints lines also on a terminal, and ends after this number of changes' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand watch" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand watch" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand watch" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand watch" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand watch" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l frames -d 'Ends after this number of frames. Without it, the command runs until it is interrupted' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l out -d 'Saves the last frame as .png, .ppm or .pgm' -r -F
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l raw -d 'Writes the planes of every frame to a file, without padding; - is standard output' -r -F
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l y4m -d 'Writes a video to a file, uncompressed in 4:2:0 (grey for the mask); - is standard output. Its rate is constant: frames are repeated and dropped. Its size is that of the first frame' -r -F
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l mjpeg -d 'Writes one JPEG picture after another to a file, at a constant rate, as --y4m does' -r -F
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l quality -d 'The quality of JPEG pictures, 1 to 100' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l width -d 'Width of the pictures in pixels: an even number from 16 to 4096' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l height -d 'Height of the pictures in pixels: an even number from 16 to 4096' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l format -d 'The pixel format: NV12 or RGB3, or GREY for the mask' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l fps -d 'The maximum number of frames a second, and with --y4m and --mjpeg their rate; without it that is the camera\'s' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l crop -d 'The part of the frame that a composite shows: view or full' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l inset -d 'The corner of a view that shows the whole frame: top-left, top-right, bottom-left, bottom-right or none' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l resolution -d 'The resolution of a mask: net, quarter or full' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l wait -d 'Waits while the service does not run or the camera is absent, in use or failing, instead of giving up; also when the service stops and starts again'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -s v -l verbose -d 'Prints a line for every frame, on standard error if the frames go to standard output'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand attach" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand snapshot" -l out -d 'The PNG file to write; - is standard output' -r -F
complete -c portraitctl -n "__fish_portraitctl_using_subcommand snapshot" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand snapshot" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand snapshot" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand snapshot" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand snapshot" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand set" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand set" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand set" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand set" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand set" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand controls" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand controls" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand controls" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand controls" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand controls" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand provide" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand provide" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand provide" -l repeat -d 'Begins again at the end of the file'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand provide" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand provide" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand provide" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand reframe" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand reframe" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand reframe" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand reframe" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand reframe" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand preview" -l listen -d 'The address and port to listen on. Port 0 is any free port' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand preview" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand preview" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand preview" -l unencrypted -d 'Listens also on an address that other machines reach. Pictures and the token then cross the network unencrypted'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand preview" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand preview" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand preview" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand stats" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand stats" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand stats" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand stats" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand stats" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand wait" -l timeout -d 'Gives up after this number of seconds, with exit status 1 and the reason' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand wait" -l bus -d 'The bus: system, session, the address of another bus, or fd:N for an inherited socket without a bus' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand wait" -l camera -d 'The name of the camera. It may be omitted if there is only one' -r
complete -c portraitctl -n "__fish_portraitctl_using_subcommand wait" -l json -d 'Prints JSON: one document, or one document per line for commands that follow a stream'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand wait" -s q -l quiet -d 'Does not say what is being waited for, and what was written'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand wait" -s h -l help -d 'Print help'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "list" -d 'Lists the cameras'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "status" -d 'Shows every property of a camera'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "watch" -d 'Shows a table of the cameras on a terminal, until it is interrupted; elsewhere, prints a line for every property of a camera that changes'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "attach" -d 'Attaches to a stream and reads its frames, across changes of size and format'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "snapshot" -d 'Saves the newest picture of a stream as PNG'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "set" -d 'Changes settings'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "controls" -d 'Shows the controls of the camera\'s driver (exposure, white balance, focus...), in the form that the configuration takes. `set controls.gain=5` changes one'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "provide" -d 'Provides the frames of a camera whose device is "provider" from a y4m video (4:2:0, 4:2:2 or grey), until its end. For root and the group portraitd-providers'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "reframe" -d 'Frames the people again, now'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "preview" -d 'Serves a web page that shows the cameras and changes their settings, until it is interrupted. Prints the address of the page. A camera is open only while a page shows it'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "stats" -d 'Shows the figures that the service measures'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "wait" -d 'Waits until the service is on the bus and no camera is absent, starting, stalled or failed. It starts no service and opens no camera'
complete -c portraitctl -n "__fish_portraitctl_using_subcommand help; and not __fish_seen_subcommand_from list status watch attach snapshot set controls provide reframe preview stats wait help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
