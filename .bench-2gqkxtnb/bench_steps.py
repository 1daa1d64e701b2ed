async def nap(seconds: float):
    import asyncio
    await asyncio.sleep(seconds)
