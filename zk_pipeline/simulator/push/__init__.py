"""Emulated terminals that push (ADMS, iclock): HTTP clients, independent of `devices/push`."""
