from raypipe.jobs.face_lora import JOB

if __name__ == "__main__":
    JOB.main()
