"""Every MQTT topic, one function each (architecture: contracts between processes)."""

ROOT = "simrack/v1"


def box_status(box: str) -> str:
    """Retained `BoxStatus`; the last will writes it too."""
    return f"{ROOT}/box/{box}/status"


def channel_state(box: str, channel: int) -> str:
    """Retained `ChannelReport` of one channel."""
    return f"{ROOT}/box/{box}/channel/{channel}/state"


def channel_console(box: str, channel: int) -> str:
    """`ConsoleLines` of one module, while somebody watches; never retained."""
    return f"{ROOT}/box/{box}/channel/{channel}/console"


def box_event(box: str) -> str:
    """`BoxEvent`: facts, at least once, until acknowledged."""
    return f"{ROOT}/box/{box}/event"


def box_event_ack(box: str) -> str:
    """`EventAck` from the controller to one box."""
    return f"{ROOT}/box/{box}/ack"


def box_command(box: str) -> str:
    """`Command` to one box."""
    return f"{ROOT}/box/{box}/command"


def controller_status() -> str:
    """Retained `ControllerStatus`; the last will writes it too."""
    return f"{ROOT}/controller/status"


def controller_time() -> str:
    """`ControllerTime`, every 10 s."""
    return f"{ROOT}/controller/time"


def controller_call(call: str) -> str:
    """`LiveCall` at each change of one call; never retained."""
    return f"{ROOT}/controller/call/{call}"


def controller_alarms() -> str:
    """Retained `AlarmSummary`."""
    return f"{ROOT}/controller/alarms"


def controller_config() -> str:
    """Retained `ConfigChanged`: the version in force."""
    return f"{ROOT}/controller/config"


def controller_command() -> str:
    """`Command` to the controller (web, CLI, API)."""
    return f"{ROOT}/controller/command"


def log_lines(process: str) -> str:
    """`LogLines` of one process; never retained."""
    return f"{ROOT}/log/{process}"


def log_wish(process: str) -> str:
    """`LogWish` to one process, or to `EVERY_PROCESS`; never retained."""
    return f"{ROOT}/log/{process}/wish"


def reply(client: str) -> str:
    """`CommandReply` to one client, whose id only it knows."""
    return f"{ROOT}/reply/{client}"


ALL_BOX_STATUS = f"{ROOT}/box/+/status"
ALL_CHANNEL_STATE = f"{ROOT}/box/+/channel/+/state"
ALL_CONSOLES = f"{ROOT}/box/+/channel/+/console"
ALL_BOX_EVENTS = f"{ROOT}/box/+/event"
ALL_CALLS = f"{ROOT}/controller/call/+"
ALL_LOGS = f"{ROOT}/log/+"
EVERY_PROCESS = "every"


def box_of(topic: str) -> str:
    """The box id inside any topic below `simrack/v1/box/`."""
    return topic.split("/")[3]
