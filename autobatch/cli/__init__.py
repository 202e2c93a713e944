"""The `autobatch` command.

To add an option: call `add_option` in the module of its command (`commands/`), or in `options` where several share it;
name it in `settings.SETTINGS` if a file or the environment may set it, else in `settings.ONE_SHOT`; and hand it on in
`inputs.search`, for a training alone in `_given` of `commands/fit`, for a probe alone in `_options` of
`commands/probe`. Names to choose from come from the type that lists them: `choices=get_args(Rule)`.
"""
