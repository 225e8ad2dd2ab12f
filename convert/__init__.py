"""The checkpoint application: conversion, comparison with PyTorch, golden tensors for the tests."""
