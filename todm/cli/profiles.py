"""``todm profiles``."""

from todm.cli.options import Json


def profiles(as_json: Json = False) -> None:
    """List the shipped device profiles.

    \b
    todm profiles
    todm profiles --json
    """
    from todm.cli.output import say
    from todm.core.profile import load_profile, shipped_profiles

    found = [load_profile(name) for name in shipped_profiles()]
    width = max((len(profile.name) for profile in found), default=0)
    lines = [
        f"{p.name:<{width}}  {p.title}; {p.runtime} {p.numeric}; budgets: "
        + (", ".join(f"{name} {budget.limit:g}" for name, budget in p.budgets.items()) or "none")
        for p in found
    ]
    data = {"profiles": [profile.to_json() for profile in found]}
    say("\n".join(lines), data, as_json=as_json)
