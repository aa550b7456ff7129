"""What names, passwords and the other fields of an account may be (pure)."""

from collections.abc import Collection

from simrack.controller.models import Names
from simrack.web.errors import BadForm
from simrack.wire import rights

PASSWORD_LEAST, PASSWORD_MOST = 12, 256
NAME_MOST, EMAIL_MOST = 60, 200
DAYS_MOST = 365
# More names than this in one account is a role without bounds.
SCOPE_MOST = 500
#: Deployment classes in which administrators need a second factor (lawful use: several customers' traffic).
STRICT_CLASSES = frozenset({"multiple-customers", "operator"})


def check_name(name: str, field: str = "name") -> None:
    if not name.strip() or name != name.strip() or len(name) > NAME_MOST or not name.isprintable():
        raise BadForm(field, f"Write a name of 1 to {NAME_MOST} characters.")


def check_password(password: str, name: str, field: str = "password") -> None:
    if len(password) < PASSWORD_LEAST:
        raise BadForm(field, f"At least {PASSWORD_LEAST} characters; this has {len(password)}.")
    if len(password) > PASSWORD_MOST:
        raise BadForm(field, f"At most {PASSWORD_MOST} characters.")
    if len(set(password)) < 4 or password.casefold() == name.casefold():
        raise BadForm(field, "Too easy to guess: take a few words that do not belong together.")


def check_email(email: str) -> None:
    """Only what keeps a mail from being sent at all is refused; whether it arrives is found out by sending."""
    local, at, host = email.rpartition("@")
    fits = bool(local and at and host) and len(email) <= EMAIL_MOST and email.isprintable() and " " not in email
    if email and not fits:
        raise BadForm("email", f"Write an address such as ada@example.net, at most {EMAIL_MOST} characters, or nothing.")


def check_role(role: str) -> None:
    if role not in rights.ROLES:
        raise BadForm("role", f"Choose one of {', '.join(rights.ROLES)}.")


def check_scope(role: str, scope: Collection[str], known: Collection[str] | None) -> frozenset[str]:
    """The names that a role sees; nothing for a role that sees all. `known` None: not asked."""
    kind = rights.SCOPED.get(role)
    if kind is None:
        return frozenset()
    if not scope:
        raise BadForm("scope", f"Choose at least one of the {kind}: this role sees nothing else.")
    if len(scope) > SCOPE_MOST:
        raise BadForm("scope", f"At most {SCOPE_MOST} names.")
    unknown = sorted(set(scope) - set(known)) if known is not None else []
    if unknown:
        raise BadForm("scope", f"No such name among the {kind}: {unknown[0][:NAME_MOST]}.")
    return frozenset(scope)


def scope_choices(names: Names) -> dict[str, dict[str, str]]:
    """What scoped roles can be given, with titles: senders, and owners that plans name."""
    owners = sorted({owner for owner in names.plan_owners.values() if owner})
    senders = dict(sorted(names.senders.items(), key=lambda pair: pair[1].casefold()))
    return {"senders": senders, "owners": dict(zip(owners, owners, strict=True))}


def known_scope(role: str, names: Names) -> frozenset[str]:
    """The names that exist for a role's scope."""
    kind = rights.SCOPED.get(role)
    return frozenset(scope_choices(names)[kind]) if kind else frozenset()


def check_hidden(hidden: Collection[str]) -> frozenset[str]:
    unknown = sorted(set(hidden) - rights.FIELD_GROUPS.keys())
    if unknown:
        raise BadForm("hidden", f"No such group of fields: {unknown[0][:NAME_MOST]}.")
    return frozenset(hidden)


def check_rights(wanted: Collection[str] | None, role: str) -> list[str] | None:
    """Rights of a token: some of its owner's, never those to the account itself."""
    if wanted is None:
        return None
    lacking = sorted(set(wanted) - token_rights(role))
    if lacking:
        raise BadForm("rights", f"You have no right {lacking[0][:NAME_MOST]!r} to give.")
    if not wanted:
        raise BadForm("rights", "Choose at least one right, or all.")
    return sorted(wanted)


def token_rights(role: str) -> frozenset[str]:
    """What a token of this role may be given: a stolen one must not make others or change a password."""
    return rights.rights_of(role) - rights.NEVER_BY_TOKEN


def check_days(days: int) -> None:
    if not 1 <= days <= DAYS_MOST:
        raise BadForm("days", f"A number of days from 1 to {DAYS_MOST}.")
