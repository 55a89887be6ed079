"""Steps that change devices and whose they are."""

from entra_pipeline.simulator.changes.base import Session, Step, blank
from entra_pipeline.simulator.generate.build import new_id


def register_device(s: Session) -> bool:
    """A new device of a user."""
    model = s.some("devices")
    if not model:
        return False
    number = s.rng.getrandbits(24)
    device_id = new_id(s.rng)
    made = s.put(
        "devices",
        {
            **blank(s.objects["devices"][model]),
            "id": device_id,
            "accountEnabled": True,
            "deviceId": new_id(s.rng),
            "deviceVersion": 2,
            "displayName": f"NEW-{number:06X}",
            "isCompliant": False,
            "isManaged": False,
            "operatingSystem": "Windows",
            "operatingSystemVersion": "10.0.26100.4652",
            "registrationDateTime": s.stamp,
            "trustType": "AzureAd",
        },
    )
    s.link("device_owners", device_id, s.some("users"))
    return made


def change_device(s: Session) -> bool:
    """Another name for a device, or it is switched on or off, or ceases to comply."""
    found = s.some("devices")
    if not found:
        return False
    device = s.objects["devices"][found]
    name = s.rng.choice(("displayName", "accountEnabled", "isCompliant"))
    value = (
        f"RENAMED-{s.rng.getrandbits(24):06X}" if name == "displayName" else not device.get(name)
    )
    return s.patch("devices", found, {name: value})


def take_device(s: Session) -> bool:
    """A device ceases to be its owner's."""
    return s.unlink("device_owners", s.some_link("device_owners", lambda _: True))


def delete_device(s: Session) -> bool:
    """A device is deleted for good, with its memberships."""
    found = s.some("devices")
    return bool(found) and s.remove("devices", str(found))


STEPS: tuple[Step, ...] = (
    ("register a device", register_device, 1),
    ("change a device", change_device, 2),
    ("take a device from its owner", take_device, 1),
    ("delete a device", delete_device, 1),
)
