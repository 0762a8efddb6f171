"""Prints what somebody publishes who has one OMEMO device (XEP-0384, the namespace that all of today's apps use): its number, and its bundle.

It runs in a Debian that has python3-omemo-dr, and keeps no private key: nobody reads what is encrypted for this device.
"""

from base64 import b64encode

from omemo_dr.util.keyhelper import KeyHelper


def main() -> None:
    device, text = KeyHelper.get_random_int(), lambda key: b64encode(key).decode()
    pair = KeyHelper.generate_identity_key_pair()
    signed = KeyHelper.generate_signed_pre_key(pair, 1)
    public = lambda record: text(record.get_key_pair().get_public_key().serialize())
    keys = "".join(f"<preKeyPublic preKeyId='{it.get_id()}'>{public(it)}</preKeyPublic>" for it in KeyHelper.generate_pre_keys(1, 100))
    print(device)
    print(
        "<bundle xmlns='eu.siacs.conversations.axolotl'>"
        f"<signedPreKeyPublic signedPreKeyId='1'>{public(signed)}</signedPreKeyPublic>"
        f"<signedPreKeySignature>{text(signed.get_signature())}</signedPreKeySignature>"
        f"<identityKey>{text(pair.get_public_key().serialize())}</identityKey><prekeys>{keys}</prekeys></bundle>"
    )


main()
